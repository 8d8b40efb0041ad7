-- Costs of remote compute: reservations before calls and charges after them.
--
-- The cost of a video, or of a tenant's month, is the sum of what was charged (usage_metrics) and what is
-- reserved for running work. A reservation is checked and written while its tenant's row is locked, so that
-- concurrent runs cannot both reserve the rest of a limit. Amounts are in US dollars.

create table captionacc.usage_metrics (
    id bigint generated always as identity primary key,
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid references captionacc.videos (id) on delete set null,
    metric_type text not null check (metric_type ~ '^[a-z][a-z0-9_]{0,63}$'),
    metric_value numeric not null,
    cost_estimate_usd numeric check (cost_estimate_usd >= 0),
    metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    recorded_at timestamptz not null default now()
);
comment on table captionacc.usage_metrics is
    'What tenants used, one row for each amount, such as the processing minutes of one call.';
create index usage_metrics_by_tenant on captionacc.usage_metrics (tenant_id, metric_type, recorded_at);
create index usage_metrics_by_video on captionacc.usage_metrics (video_id) where video_id is not null;
-- Costs of the current month: a tenant may have hundreds of thousands of rows.
create index usage_metrics_costs on captionacc.usage_metrics (recorded_at) include (tenant_id, cost_estimate_usd)
    where cost_estimate_usd is not null;
create index usage_metrics_tenant_costs on captionacc.usage_metrics (tenant_id, recorded_at)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_video_costs on captionacc.usage_metrics (video_id)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_by_time on captionacc.usage_metrics (recorded_at)
    where metric_type in ('container_seconds', 'processing_minutes');
alter table captionacc.usage_metrics enable row level security;

create table captionacc.cost_reservations (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    function_name text not null check (function_name <> ''),
    tenant_id uuid not null references captionacc.tenants (id),
    run_id text not null check (run_id <> ''),
    amount_usd numeric not null check (amount_usd >= 0),
    reserved_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    primary key (video_id, function_name)
);
comment on table captionacc.cost_reservations is
    'Expected cost of running work, from before its first call until its calls are charged.';
comment on column captionacc.cost_reservations.expires_at is
    'The reservation does not count after this: its run died, and no other run took over its calls.';
create index cost_reservations_by_tenant on captionacc.cost_reservations (tenant_id);
alter table captionacc.cost_reservations enable row level security;
