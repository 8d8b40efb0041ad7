create or replace function captionacc.app_bump_database_version(p_token uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('bump_database_version', p_token)
$$;
comment on function captionacc.app_bump_database_version(uuid) is 'Record a published version, as bump_database_version does.';
