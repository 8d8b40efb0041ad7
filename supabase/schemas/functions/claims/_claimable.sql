create or replace function captionacc._claimable(
    p_stage text, p_limit integer, p_stale timestamptz, p_tenant_limit integer
) returns uuid[]
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    age text := case p_stage when 'layout' then 'uploaded_at' when 'boundaries' then 'layout_approved_at'
        else 'boundaries_finished_at' end;
    waiting text := format(
        '%1$s_status = ''wait'' and %1$s_run_id is null and deleted_at is null and %2$s', p_stage,
        case p_stage when 'layout' then 'uploaded_at is not null' when 'boundaries' then 'layout_status = ''done'''
            else 'boundaries_status in (''annotate'', ''done'')' end);
    share record;
    batch uuid[];
    picked uuid[] := '{}';
begin
    if p_tenant_limit is not null and p_tenant_limit < 1 then
        raise exception 'a limit of % for a tenant is not usable', p_tenant_limit using errcode = 'CA010';
    end if;
    for share in execute format(
        $sql$
        -- Skip from tenant to tenant through the index, so that a tenant's long queue costs no more than a short one.
        with recursive tenants_waiting as (
            (select tenant_id from videos where %2$s and %1$s_requested_at is null order by tenant_id limit 1)
            union all
            select (
                select v.tenant_id from videos v
                where %2$s and %1$s_requested_at is null and v.tenant_id > t.tenant_id
                order by v.tenant_id limit 1
            )
            from tenants_waiting t where t.tenant_id is not null
        ), turns as (
            select t.tenant_id, asked.number + turn as turn, fresh.since
            from tenants_waiting t,
            lateral (
                -- A video that is claimed again and again never gets a run: it must not block the others.
                select count(*) as number from videos v
                where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is not null
                    and %1$s_unstarted_requests <= 4
            ) asked,
            lateral (
                select count(*) as number, min(since) as since from (
                    select %3$s as since from videos v
                    where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is null
                    order by %3$s, id limit $1
                ) oldest
            ) fresh,
            lateral generate_series(1, least(fresh.number, coalesce($2, 10000) - asked.number)) turn
            where t.tenant_id is not null
        )
        select tenant_id, count(*) as number
        from (select tenant_id from turns order by turn, since, tenant_id limit $1) next
        group by tenant_id
        $sql$, p_stage, waiting, age)
    using p_limit, p_tenant_limit
    loop
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where tenant_id = $1 and %2$s and %1$s_requested_at is null
                order by %3$s, id limit $2
                for update skip locked
            ) oldest
            $sql$, p_stage, waiting, age)
        into batch using share.tenant_id, share.number;
        picked := picked || batch;
    end loop;
    if cardinality(picked) < p_limit then
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where %2$s and %1$s_requested_at < $1
                order by %1$s_requested_at, %3$s, id limit $2
                for update skip locked
            ) unstarted
            $sql$, p_stage, waiting, age)
        into batch using p_stale, p_limit - cardinality(picked);
        picked := picked || batch;
    end if;
    return picked;
end
$$;
comment on function captionacc._claimable(text, integer, timestamptz, integer) is
    'Lock and return the videos that wait for a run of a stage. First those never claimed, taking tenants '
    'in turn and oldest first, with at most p_tenant_limit of a tenant''s claims waiting for runs; then '
    'those claimed before p_stale that no run has begun.';
