create or replace function captionacc.is_tenant_owner() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and role = 'owner'
    )
$$;
comment on function captionacc.is_tenant_owner() is 'Return whether the request''s user owns their tenant.';
