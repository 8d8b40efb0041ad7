create or replace function captionacc.tenant_costs(
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
    'Return the cost limits that apply to a tenant (null: none) and this month''s charged and reserved '
    'cost. p_video_limit_usd and p_month_limit_usd are the installation''s limits.';
