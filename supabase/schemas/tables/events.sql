-- What clients hear about: changes that stay are events, which a client can resume after; the progress of
-- running work is one row a stage; only its present value matters.

create table captionacc.events (
    -- Transactions end in another order than they begin. A reader takes events of transactions that are older
    -- than all unfinished ones, in the order of (transaction, id), and so never passes one that ends later.
    transaction_id xid8 not null default pg_current_xact_id(),
    id bigint generated always as identity,
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    kind text not null check (kind in ('video', 'captions', 'layout', 'lock', 'job')),
    payload jsonb not null check (jsonb_typeof(payload) = 'object'),
    occurred_at timestamptz not null default clock_timestamp(),
    primary key (transaction_id, id)
);
comment on table captionacc.events is
    'Changes of videos, their databases, locks and jobs, for the live events of the API; kept for a day.';
create index events_by_tenant on captionacc.events (tenant_id, transaction_id, id);
create index events_by_video on captionacc.events (video_id);
create index events_by_time on captionacc.events (occurred_at);
alter table captionacc.events enable row level security;

create table captionacc.stage_progress (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    stage text not null check (stage in ('layout', 'boundaries', 'text')),
    tenant_id uuid not null references captionacc.tenants (id),
    run_id text not null,
    percent integer not null check (percent between 0 and 100),
    message text not null check (length(message) <= 200),
    done bigint not null check (done >= 0),
    total bigint not null check (total >= 0),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (video_id, stage)
);
comment on table captionacc.stage_progress is
    'Progress of the run that works on a stage, at most once a second; the row is removed when the run ends.';
create index stage_progress_by_tenant on captionacc.stage_progress (tenant_id, updated_at);
alter table captionacc.stage_progress enable row level security;
