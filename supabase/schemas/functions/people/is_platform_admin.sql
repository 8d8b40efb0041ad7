create or replace function captionacc.is_platform_admin() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and is_platform_admin
    )
$$;
comment on function captionacc.is_platform_admin() is
    'Return whether the request''s user is a platform admin.';
