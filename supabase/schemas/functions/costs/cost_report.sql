create or replace function captionacc.cost_report(p_since timestamptz, p_tenant_id uuid default null)
returns table (lines jsonb, until timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    -- One row, because an API that limits the number of rows would drop lines.
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
    'Report calls, container seconds, processing minutes and cost by tenant, month (UTC) and function, '
    'newest month first.';
