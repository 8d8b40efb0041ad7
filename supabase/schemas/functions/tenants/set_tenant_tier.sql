create or replace function captionacc.set_tenant_tier(p_tenant_id uuid, p_tier text) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    update tenants set tier = p_tier where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_tier(uuid, text) is
    'Change a tenant''s tier. Tiers belong to tenants, not to users.';
