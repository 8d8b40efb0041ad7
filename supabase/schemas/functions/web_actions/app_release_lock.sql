create or replace function captionacc.app_release_lock(p_token uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('release_lock', p_token)
$$;
comment on function captionacc.app_release_lock(uuid) is 'Release a lock, as release_lock does.';
