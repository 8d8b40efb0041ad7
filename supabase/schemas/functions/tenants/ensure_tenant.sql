create or replace function captionacc.ensure_tenant(
    p_tenant_id uuid,
    p_name text,
    p_tier text default 'free',
    p_auto_approve_layout_confidence double precision default null
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_text(p_name, 'the tenant''s name');
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    if p_auto_approve_layout_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_auto_approve_layout_confidence using errcode = 'CA010';
    end if;
    insert into tenants (id, name, tier, auto_approve_layout_confidence)
    values (p_tenant_id, p_name, p_tier, p_auto_approve_layout_confidence)
    on conflict (id) do nothing;
    select * into strict result from tenants where id = p_tenant_id;
    return result;
end
$$;
comment on function captionacc.ensure_tenant(uuid, text, text, double precision) is
    'Create a tenant if it is missing; an existing tenant keeps its settings.';
