create or replace function captionacc.set_tenant_cost_limits(
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
    'Set a tenant''s cost limits for a video and for a month. Null: the tier''s limit; infinity: no limit.';
