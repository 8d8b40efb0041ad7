create or replace function captionacc._month_spent_usd(p_tenant_id uuid) returns numeric
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(sum(cost_estimate_usd), 0) from usage_metrics
    where tenant_id = p_tenant_id and cost_estimate_usd > 0
        and recorded_at >= date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc'
$$;
