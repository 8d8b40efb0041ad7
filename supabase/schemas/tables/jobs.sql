-- Work on a video that somebody asked for through the API. A job changes its stages' states as any other
-- request does; sensors and runs know nothing of it. A trigger on videos keeps the job's state.

create table captionacc.jobs (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    type text not null check (type in ('process', 'layout', 'captions', 'caption_text', 'export')),
    state text not null default 'queued' check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    progress integer not null default 0 check (progress between 0 and 100),
    message text not null default '' check (length(message) <= 1000),
    parameters jsonb not null default '{}' check (jsonb_typeof(parameters) = 'object'),
    result jsonb check (jsonb_typeof(result) = 'object'),
    priority integer check (priority between 0 and 100),
    run_id text,
    requested_by text not null check (requested_by <> ''),
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    constraint jobs_finished check ((state in ('queued', 'running')) = (finished_at is null))
);
comment on table captionacc.jobs is
    'Work on videos that people asked for, with its progress; finished jobs are purged by age.';
comment on column captionacc.jobs.priority is
    'Priority that an operator chose, which replaces that of the tenant''s tier; null: none.';
comment on column captionacc.jobs.run_id is 'Dagster''s run that works on the job, or worked on it last.';
comment on column captionacc.jobs.result is 'Result of an export: the format, the route of the file and its number of captions.';
-- A video has one open job of a type: asking again returns it.
create unique index jobs_open on captionacc.jobs (video_id, type) where finished_at is null;
create index jobs_active on captionacc.jobs (tenant_id, created_at desc, id) where finished_at is null;
create index jobs_by_age on captionacc.jobs (created_at desc, id);
create index jobs_by_video on captionacc.jobs (video_id, created_at desc);
create index jobs_finished_at on captionacc.jobs (finished_at) where finished_at is not null;
alter table captionacc.jobs enable row level security;
