create or replace function captionacc.set_tenant_languages(p_tenant_id uuid, p_languages text[])
returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_languages(p_languages);
    update tenants set ocr_languages = p_languages where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_languages(uuid, text[]) is
    'Set the languages of the captions of a tenant''s videos, for videos that are read from now on. CA006, '
    'CA010.';
