create or replace function captionacc.set_auto_approve(p_tenant_id uuid, p_confidence double precision)
returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if p_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_confidence using errcode = 'CA010';
    end if;
    update tenants set auto_approve_layout_confidence = p_confidence where id = p_tenant_id
    returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_auto_approve(uuid, double precision) is
    'Set the layout confidence from which no person is asked (null: always ask), for layouts found from '
    'now on.';
