create or replace function captionacc.current_tenant_id() returns uuid
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select tenant_id from user_profiles where user_id = auth.uid() and approval_status = 'approved'
$$;
comment on function captionacc.current_tenant_id() is
    'Return the tenant of the request''s user; null if the user is not approved.';
