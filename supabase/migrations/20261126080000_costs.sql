-- What remote compute costs: limits, reservations before calls, charges after them, and the report.
--
-- The spend of a video or of a tenant's month is what was charged (usage_metrics) and what is reserved for
-- work that runs. A reservation is checked and written while its tenant's row is locked, so that of runs
-- that ask at the same moment no two are granted the same dollar. Amounts are US dollars.

alter table captionacc.access_tiers
    add column video_cost_limit_usd numeric check (video_cost_limit_usd >= 0),
    add column month_cost_limit_usd numeric check (month_cost_limit_usd >= 0);
comment on column captionacc.access_tiers.video_cost_limit_usd is
    'What one video may cost in all; null: the installation''s limit, infinity: none.';
comment on column captionacc.access_tiers.month_cost_limit_usd is
    'What a tenant may cost in a calendar month (UTC); null: the installation''s limit, infinity: none.';
alter table captionacc.tenants
    add column video_cost_limit_usd numeric check (video_cost_limit_usd >= 0),
    add column month_cost_limit_usd numeric check (month_cost_limit_usd >= 0);
comment on column captionacc.tenants.video_cost_limit_usd is 'Own limit in place of the tier''s; null: the tier''s.';
comment on column captionacc.tenants.month_cost_limit_usd is 'Own limit in place of the tier''s; null: the tier''s.';

alter table captionacc.compute_calls
    add column cost_usd numeric check (cost_usd >= 0),
    add column charged_at timestamptz,
    add constraint compute_calls_charged check ((cost_usd is null) = (charged_at is null));
comment on column captionacc.compute_calls.cost_usd is
    'What the call cost, by the price table; its row in usage_metrics says how much of what.';
create index compute_calls_uncharged on captionacc.compute_calls (finished_at)
    where finished_at is not null and charged_at is null and backend = 'modal';

create index usage_metrics_tenant_costs on captionacc.usage_metrics (tenant_id, recorded_at)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_video_costs on captionacc.usage_metrics (video_id)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_by_time on captionacc.usage_metrics (recorded_at)
    where metric_type in ('container_seconds', 'processing_minutes');

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
    'What work that runs is expected to cost, from before its first call until its calls are charged.';
comment on column captionacc.cost_reservations.expires_at is
    'Counts no more from then on: the run died, and nobody came back for its calls.';
create index cost_reservations_by_tenant on captionacc.cost_reservations (tenant_id);
alter table captionacc.cost_reservations enable row level security;
create policy cost_reservations_read on captionacc.cost_reservations for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.cost_reservations to authenticated;

-- ---------------------------------------------------------------------------------------------
-- Limits

create function captionacc.set_tier_cost_limits(
    p_tier text, p_video_usd numeric default null, p_month_usd numeric default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    update access_tiers set video_cost_limit_usd = p_video_usd, month_cost_limit_usd = p_month_usd
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_cost_limits(text, numeric, numeric) is
    'What tenants of a tier may cost, a video and a month; null: the installation''s limits, infinity: none.';

create function captionacc.set_tenant_cost_limits(
    p_tenant_id uuid, p_video_usd numeric default null, p_month_usd numeric default null
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    update tenants set video_cost_limit_usd = p_video_usd, month_cost_limit_usd = p_month_usd
    where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_cost_limits(uuid, numeric, numeric) is
    'What a tenant may cost, a video and a month; null: its tier''s limits, infinity: none.';

-- ---------------------------------------------------------------------------------------------
-- Spend

create function captionacc._month_spent_usd(p_tenant_id uuid) returns numeric
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(sum(cost_estimate_usd), 0) from usage_metrics
    where tenant_id = p_tenant_id and cost_estimate_usd > 0
        and recorded_at >= date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc'
$$;

create function captionacc.tenant_costs(
    p_tenant_id uuid, p_video_limit_usd numeric default null, p_month_limit_usd numeric default null
) returns table (
    video_limit_usd numeric, month_limit_usd numeric, month_spent_usd numeric, reserved_usd numeric
)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return query
        select
            case when not t.quota_exempt then nullif(coalesce(
                t.video_cost_limit_usd, a.video_cost_limit_usd, p_video_limit_usd), 'infinity') end,
            case when not t.quota_exempt then nullif(coalesce(
                t.month_cost_limit_usd, a.month_cost_limit_usd, p_month_limit_usd), 'infinity') end,
            _month_spent_usd(t.id),
            (
                select coalesce(sum(r.amount_usd), 0) from cost_reservations r
                where r.tenant_id = t.id and r.expires_at > clock_timestamp()
            )
        from tenants t join access_tiers a on a.id = t.tier
        where t.id = p_tenant_id;
end
$$;
comment on function captionacc.tenant_costs(uuid, numeric, numeric) is
    'The limits that apply to a tenant (null: none), where p_video_limit_usd and p_month_limit_usd are the '
    'installation''s; and this month''s spend, charged and reserved.';

create function captionacc.reserve_cost(
    p_video_id uuid,
    p_run_id text,
    p_function_name text,
    p_estimate_usd numeric,
    p_video_limit_usd numeric default null,
    p_month_limit_usd numeric default null,
    p_life_seconds double precision default 86400,
    p_frame_count bigint default null
) returns table (granted boolean, message text, reserved_usd numeric)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- Video before tenant, as every function that locks both.
    video videos := _locked_video(p_video_id);
    costs record;
    paid numeric;
    needed numeric;
    video_spent numeric;
    others_reserved numeric;
    refusal text;
begin
    perform _check_text(p_run_id, 'the run id');
    perform _check_text(p_function_name, 'the function''s name');
    if not coalesce(p_estimate_usd >= 0 and p_estimate_usd < 'infinity', false) then
        raise exception '% is not a cost', coalesce(p_estimate_usd::text, 'null') using errcode = 'CA010';
    end if;
    if not coalesce(p_life_seconds > 0, false) then
        raise exception 'a life of % s is not usable', coalesce(p_life_seconds::text, 'null') using errcode = 'CA010';
    end if;
    perform from tenants where id = video.tenant_id for no key update;

    -- What an earlier attempt paid for and this one will be given is not paid again.
    select coalesce(sum(c.cost_usd), 0) into paid from compute_calls c
    where c.video_id = p_video_id and c.function_name = p_function_name
        and c.status = 'succeeded' and c.settled_at is null
        and c.finished_at > clock_timestamp() - make_interval(secs => p_life_seconds);
    needed := greatest(p_estimate_usd - paid, 0);

    select * into costs from tenant_costs(video.tenant_id, p_video_limit_usd, p_month_limit_usd);
    select coalesce(sum(m.cost_estimate_usd), 0) into video_spent from usage_metrics m
    where m.video_id = p_video_id and m.cost_estimate_usd > 0;
    select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
    where r.video_id = p_video_id and r.function_name <> p_function_name and r.expires_at > clock_timestamp();
    video_spent := video_spent + others_reserved;
    if video_spent + needed > costs.video_limit_usd then
        refusal := format(
            '%s of video %s would cost about $%s, and $%s of the $%s that a video may cost are spent or reserved: '
            'raise the limit with `captionacc cost limit --tenant %s --video-usd %s`, then retry the video',
            p_function_name, p_video_id, _usd(needed), _usd(video_spent), _usd(costs.video_limit_usd),
            video.tenant_id, _usd(ceil(video_spent + needed)));
    else
        -- This function's own reservation, which an earlier attempt left, is replaced and does not count.
        select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
        where r.tenant_id = video.tenant_id and r.expires_at > clock_timestamp()
            and (r.video_id, r.function_name) <> (p_video_id, p_function_name);
        if costs.month_spent_usd + others_reserved + needed > costs.month_limit_usd then
            refusal := format(
                '%s of video %s would cost about $%s, and $%s of the $%s that tenant %s may cost in a month (UTC) are '
                'spent or reserved: retry the video next month, or raise the limit with '
                '`captionacc cost limit --tenant %s --month-usd %s` and then retry it',
                p_function_name, p_video_id, _usd(needed), _usd(costs.month_spent_usd + others_reserved),
                _usd(costs.month_limit_usd), video.tenant_id, video.tenant_id,
                _usd(ceil(costs.month_spent_usd + others_reserved + needed)));
        end if;
    end if;

    if refusal is not null then
        -- Not raised: that would undo the rejection.
        if not exists (
            select from caption_frame_extents_inference_rejections j
            where j.video_id = p_video_id and j.run_id = p_run_id and j.message = refusal
        ) then
            perform record_rejection(video.tenant_id, 'cost_exceeded', refusal, p_video_id, p_run_id => p_run_id,
                p_frame_count => p_frame_count, p_estimated_cost_usd => needed);
        end if;
        return query select false, refusal, 0::numeric;
        return;
    end if;
    insert into cost_reservations as r (video_id, function_name, tenant_id, run_id, amount_usd, expires_at)
    values (p_video_id, p_function_name, video.tenant_id, p_run_id, needed,
        clock_timestamp() + make_interval(secs => p_life_seconds))
    on conflict (video_id, function_name) do update set
        run_id = excluded.run_id, amount_usd = excluded.amount_usd, reserved_at = clock_timestamp(),
        expires_at = excluded.expires_at;
    return query select true, ''::text, needed;
end
$$;
comment on function captionacc.reserve_cost(uuid, text, text, numeric, numeric, numeric, double precision, bigint) is
    'Set aside what a function''s calls for a video are expected to cost. Beyond a limit nothing is set aside: '
    'granted is false, message says what to do, and a rejection is recorded.';

create function captionacc._usd(p_amount numeric) returns text
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select to_char(p_amount, case when p_amount < 0.1 then 'FM999999990.0000' else 'FM999999990.00' end)
$$;

create function captionacc.release_cost(p_video_id uuid, p_run_id text, p_function_name text) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    delete from cost_reservations r
    where r.video_id = p_video_id and r.function_name = p_function_name and r.run_id = p_run_id
        -- Calls that go on without the run will be paid for as well.
        and not exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.function_name = p_function_name and c.status in ('pending', 'running')
        );
    return found;
end
$$;
comment on function captionacc.release_cost(uuid, text, text) is
    'The run''s calls are charged: the reservation is over. It stays while calls go on, and when another run has '
    'replaced it.';

create function captionacc.charge_compute_call(
    p_id uuid, p_cost_usd numeric, p_seconds numeric, p_metadata jsonb default '{}'
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
    result compute_calls;
begin
    -- Video before call, as open_compute_call.
    perform from videos where id = (select c.video_id from compute_calls c where c.id = p_id) for key share;
    found := _locked_compute_call(p_id);
    if found.charged_at is not null then
        return found;
    end if;
    if found.finished_at is null then
        raise exception 'compute call % is %, so its cost is not known yet', p_id, found.status
            using errcode = 'CA002';
    end if;
    if not coalesce(p_cost_usd >= 0 and p_cost_usd < 'infinity' and p_seconds >= 0 and p_seconds < 'infinity', false)
    then
        raise exception 'a cost of % for % s is not usable', coalesce(p_cost_usd::text, 'null'),
            coalesce(p_seconds::text, 'null') using errcode = 'CA010';
    end if;
    insert into usage_metrics
        (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata, recorded_at)
    values (
        found.tenant_id, found.video_id, 'container_seconds', p_seconds, p_cost_usd,
        coalesce(p_metadata, '{}') || jsonb_build_object('function', found.function_name, 'run_id', found.run_id,
            'compute_call_id', found.id, 'status', found.status),
        found.finished_at
    );
    update compute_calls set cost_usd = p_cost_usd, charged_at = clock_timestamp() where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.charge_compute_call(uuid, numeric, numeric, jsonb) is
    'What a call that ended cost, well or badly; counted once, in the month in which it ended. CA002 for one that '
    'runs.';

create function captionacc.cost_report(p_since timestamptz, p_tenant_id uuid default null)
returns table (lines jsonb, until timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    -- One row: an API that cuts long answers would leave lines out.
    select coalesce(jsonb_agg(to_jsonb(r) order by r.month desc, r.tenant, r.function_name), '[]'), now()
    from (
        select t.id as tenant_id, t.name as tenant,
            to_char(m.recorded_at at time zone 'utc', 'YYYY-MM') as month,
            coalesce(m.metadata ->> 'function', '') as function_name,
            count(*) filter (where m.metric_type = 'container_seconds') as calls,
            round(coalesce(sum(m.metric_value) filter (where m.metric_type = 'container_seconds'), 0), 3)
                as container_seconds,
            round(coalesce(sum(m.metric_value) filter (where m.metric_type = 'processing_minutes'), 0), 4)
                as processing_minutes,
            round(coalesce(sum(m.cost_estimate_usd), 0), 6) as cost_usd
        from usage_metrics m join tenants t on t.id = m.tenant_id
        where m.recorded_at >= p_since and m.metric_type in ('container_seconds', 'processing_minutes')
            and (p_tenant_id is null or m.tenant_id = p_tenant_id)
        group by t.id, t.name, 3, 4
    ) r
$$;
comment on function captionacc.cost_report(timestamptz, uuid) is
    'Calls, container seconds, processing minutes and cost by tenant, month (UTC) and function, newest month first.';

revoke execute on all functions in schema captionacc from public;
