create or replace function captionacc.set_user_profile(
    p_user_id uuid,
    p_tenant_id uuid,
    p_role text default 'member',
    p_approval_status text default 'pending',
    p_is_platform_admin boolean default false,
    p_display_name text default ''
) returns captionacc.user_profiles
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result user_profiles;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_role is null or p_role not in ('member', 'owner') then
        raise exception 'role % is not member or owner', coalesce(p_role, 'null') using errcode = 'CA010';
    end if;
    if p_approval_status is null or p_approval_status not in ('pending', 'approved', 'rejected') then
        raise exception 'approval % is not pending, approved or rejected', coalesce(p_approval_status, 'null')
            using errcode = 'CA010';
    end if;
    insert into user_profiles (user_id, tenant_id, role, approval_status, is_platform_admin, display_name)
    values (p_user_id, p_tenant_id, p_role, p_approval_status, coalesce(p_is_platform_admin, false),
        coalesce(p_display_name, ''))
    on conflict (user_id) do update set
        tenant_id = excluded.tenant_id, role = excluded.role, approval_status = excluded.approval_status,
        is_platform_admin = excluded.is_platform_admin, display_name = excluded.display_name
    returning * into result;
    perform _audit('set_user_profile', 'allowed', '', null, to_jsonb(result) - 'created_at' - 'updated_at');
    return result;
end
$$;
comment on function captionacc.set_user_profile(uuid, uuid, text, text, boolean, text) is
    'Create or change a user''s profile; audited.';
