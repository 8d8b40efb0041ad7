-- What an operator looks at: how stages ended, what waits and since when, locks, calls, spend.
-- Reading costs what waits, works or is new, not what exists.

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
    'How each attempt at a stage ended. Rows are only added, outlive what they name, and are purged by age.';
comment on column captionacc.stage_outcomes.seconds is
    'From the run''s beginning of the stage to its end; null when no run began it.';
create index stage_outcomes_by_time on captionacc.stage_outcomes (occurred_at, id);
create index stage_outcomes_errors on captionacc.stage_outcomes (occurred_at) where outcome = 'error';
create index stage_outcomes_by_tenant on captionacc.stage_outcomes (tenant_id, occurred_at);

alter table captionacc.stage_outcomes enable row level security;
create policy stage_outcomes_read on captionacc.stage_outcomes for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.stage_outcomes to authenticated;

-- This month's costs, of which a tenant may have hundreds of thousands.
create index usage_metrics_costs on captionacc.usage_metrics (recorded_at) include (tenant_id, cost_estimate_usd)
    where cost_estimate_usd is not null;

create function captionacc._record_stage_outcomes() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    insert into stage_outcomes (tenant_id, video_id, stage, outcome, error_type, run_id, seconds)
    select new.tenant_id, new.id, s.stage, case when s.failed then 'error' else 'finished' end,
        case when s.failed then left(coalesce(s.details ->> 'error_type', ''), 100) else '' end,
        coalesce(s.old_run_id, s.details ->> 'run_id'),
        case when s.old_run_id is not null
            then greatest(extract(epoch from s.finished_at - s.started_at)::double precision, 0) end
    from (
        values
            ('layout', new.layout_status = 'error', new.layout_error_details, old.layout_error_details,
                old.layout_run_id, new.layout_started_at, new.layout_finished_at, old.layout_finished_at),
            ('boundaries', new.boundaries_status = 'error', new.boundaries_error_details,
                old.boundaries_error_details, old.boundaries_run_id, new.boundaries_started_at,
                new.boundaries_finished_at, old.boundaries_finished_at),
            ('text', new.text_status = 'error', new.text_error_details, old.text_error_details, old.text_run_id,
                new.text_started_at, new.text_finished_at, old.text_finished_at)
    ) s (stage, failed, details, old_details, old_run_id, started_at, finished_at, old_finished_at)
    -- An error is another one when its details are; a result is one when its run ended with a new time.
    where (s.failed and s.details is distinct from s.old_details)
        or (not s.failed and s.old_run_id is not null and s.finished_at is distinct from s.old_finished_at);
    return null;
end
$$;
create trigger videos_record_outcomes after update on captionacc.videos for each row
    when (
        new.layout_finished_at is distinct from old.layout_finished_at
        or new.boundaries_finished_at is distinct from old.boundaries_finished_at
        or new.text_finished_at is distinct from old.text_finished_at
        or new.layout_error_details is distinct from old.layout_error_details
        or new.boundaries_error_details is distinct from old.boundaries_error_details
        or new.text_error_details is distinct from old.text_error_details
    )
    execute function captionacc._record_stage_outcomes();

create function captionacc.stage_outcomes_after(p_after timestamptz, p_after_id bigint, p_limit integer default 1000)
returns setof captionacc.stage_outcomes
language sql stable
set search_path = captionacc, pg_temp
as $$
    select * from stage_outcomes
    -- Rows appear when their transaction ends: one older than any statement's time-out is complete.
    where (occurred_at, id) > (p_after, p_after_id) and occurred_at < clock_timestamp() - interval '20 seconds'
    order by occurred_at, id
    limit least(p_limit, 1000)
$$;
comment on function captionacc.stage_outcomes_after(timestamptz, bigint, integer) is
    'Outcomes after one that was read already, oldest first, 1000 at most; those of the last 20 s are left for later.';

create function captionacc.purge_stage_outcomes(p_older_than_seconds double precision) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed bigint;
begin
    if not coalesce(p_older_than_seconds >= 86400, false) then
        raise exception 'outcomes of the last day are not purged' using errcode = 'CA010';
    end if;
    delete from stage_outcomes where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_stage_outcomes(double precision) is 'Remove old outcomes; how many there were.';

create function captionacc.stage_failures(p_seconds double precision default 3600)
returns table (stage text, error_type text, failures bigint)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select o.stage, o.error_type, count(*) from stage_outcomes o
    where o.outcome = 'error' and o.occurred_at > clock_timestamp() - make_interval(secs => p_seconds)
    group by o.stage, o.error_type
    order by count(*) desc, o.stage, o.error_type
    limit 200
$$;
comment on function captionacc.stage_failures(double precision) is
    'Stages that ended in an error lately, by kind: the last attempt of each, cancellations and refusals included.';

create function captionacc.stage_backlog()
returns table (
    stage text, tier text, waiting bigint, oldest_waiting_at timestamptz, running bigint,
    oldest_running_at timestamptz
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    with work as (
        -- Each of the three has its own partial index. After a failure the wait begins anew.
        select tenant_id, 'layout' as stage, greatest(uploaded_at, layout_finished_at) as waiting_since,
            null::timestamptz as running_since
        from videos
        where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null and deleted_at is null
        union all
        select tenant_id, 'boundaries', greatest(layout_approved_at, boundaries_finished_at), null
        from videos
        where boundaries_status = 'wait' and boundaries_run_id is null and layout_status = 'done'
            and deleted_at is null
        union all
        select tenant_id, 'text', greatest(boundaries_finished_at, text_finished_at), null
        from videos
        where text_status = 'wait' and text_run_id is null and boundaries_status in ('annotate', 'done')
            and deleted_at is null
        union all
        select v.tenant_id, s.stage, null, s.started_at
        from videos v, lateral (
            values ('layout', v.layout_run_id, v.layout_started_at),
                ('boundaries', v.boundaries_run_id, v.boundaries_started_at),
                ('text', v.text_run_id, v.text_started_at)
        ) s (stage, run_id, started_at)
        where (v.layout_run_id is not null or v.boundaries_run_id is not null or v.text_run_id is not null)
            and s.run_id is not null
    ), a_tenant as (
        select w.tenant_id, w.stage, count(w.waiting_since) as waiting, min(w.waiting_since) as oldest_waiting_at,
            count(w.running_since) as running, min(w.running_since) as oldest_running_at
        from work w group by w.tenant_id, w.stage
    )
    select a.stage, t.tier, sum(a.waiting)::bigint, min(a.oldest_waiting_at), sum(a.running)::bigint,
        min(a.oldest_running_at)
    from a_tenant a join tenants t on t.id = a.tenant_id
    group by a.stage, t.tier
    order by a.stage, t.tier
$$;
comment on function captionacc.stage_backlog() is
    'Videos that wait for a run of each stage, asked for or not, and those that a run works on, by their tenants'' tier.';

create function captionacc.lock_state()
returns table (
    database_name text, held bigint, expired bigint, oldest_expired_at timestamptz, oldest_held_at timestamptz,
    database_waits bigint
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select n.name, count(s.video_id) filter (where s.lock_expires_at > clock_timestamp()),
        count(s.video_id) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.lock_expires_at) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.locked_at) filter (where s.lock_expires_at > clock_timestamp()),
        (
            select count(*) from pg_catalog.pg_locks l
            where not l.granted
                and (l.database is null or l.database
                    = (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
        )
    from (values ('captions'), ('layout')) n (name)
    left join video_database_state s on s.database_name = n.name and s.lock_token is not null
    group by n.name
    order by n.name
$$;
comment on function captionacc.lock_state() is
    'Leases on client databases: held, and expired without having been given back (their holder died). '
    'database_waits: transactions that wait for another''s lock now, the same number in each row.';

create function captionacc.open_compute_calls()
returns table (function_name text, backend text, status text, calls bigint, oldest_at timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select c.function_name, c.backend, c.status, count(*), min(c.created_at)
    from compute_calls c where c.status in ('pending', 'running')
    group by c.function_name, c.backend, c.status
    order by c.function_name, c.backend, c.status
$$;
comment on function captionacc.open_compute_calls() is 'Calls that are waited for now.';

create function captionacc.monthly_spend(p_limit integer default 50)
returns table (tenant_id uuid, tier text, cost_usd numeric)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select u.tenant_id, t.tier, u.cost
    from (
        select m.tenant_id, sum(m.cost_estimate_usd) as cost from usage_metrics m
        where m.cost_estimate_usd is not null
            and m.recorded_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
        group by m.tenant_id
    ) u
    join tenants t on t.id = u.tenant_id
    order by u.cost desc, u.tenant_id
    limit least(p_limit, 1000)
$$;
comment on function captionacc.monthly_spend(integer) is
    'Estimated cost of the calendar month (UTC) so far, of the tenants that cost most.';

revoke execute on all functions in schema captionacc from public;
