create table captionacc.stage_outcomes (
    id bigint generated always as identity primary key,
    occurred_at timestamptz not null default clock_timestamp(),
    tenant_id uuid not null,
    video_id uuid not null,
    stage text not null check (stage in ('layout', 'boundaries', 'text')),
    outcome text not null check (outcome in ('finished', 'error')),
    error_type text not null default '',
    run_id text,
    seconds double precision check (seconds >= 0)
);
comment on table captionacc.stage_outcomes is
    'How each attempt at a stage ended. Rows are only added, outlive the videos that they name, and are '
    'purged by age.';
comment on column captionacc.stage_outcomes.seconds is
    'From the run''s start of the stage to its end; null if no run began it.';
create index stage_outcomes_by_time on captionacc.stage_outcomes (occurred_at, id);
create index stage_outcomes_errors on captionacc.stage_outcomes (occurred_at) where outcome = 'error';
create index stage_outcomes_by_tenant on captionacc.stage_outcomes (tenant_id, occurred_at);
alter table captionacc.stage_outcomes enable row level security;
