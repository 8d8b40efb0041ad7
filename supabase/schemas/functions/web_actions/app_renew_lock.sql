create or replace function captionacc.app_renew_lock(p_token uuid, p_lease_seconds double precision) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('renew_lock', p_token, jsonb_build_object('lease_seconds', p_lease_seconds))
$$;
comment on function captionacc.app_renew_lock(uuid, double precision) is 'Extend a client''s lease by at most 300 s, as renew_lock does.';
