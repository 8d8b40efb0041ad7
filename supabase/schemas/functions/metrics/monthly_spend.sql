create or replace function captionacc.monthly_spend(p_limit integer default 50)
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
    'Return the estimated cost of the current calendar month (UTC) for the tenants with the highest cost.';
