create or replace function captionacc.release_lock(p_token uuid) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update video_database_state
    set lock_token = null, lock_owner = null, lock_type = null, locked_at = null, lock_expires_at = null
    where lock_token = p_token;
    return found;
end
$$;
comment on function captionacc.release_lock(uuid) is
    'Release a lock. Returns false if the caller no longer holds it.';
