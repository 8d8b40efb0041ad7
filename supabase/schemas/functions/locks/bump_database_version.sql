create or replace function captionacc.bump_database_version(p_token uuid) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    update video_database_state set server_version = server_version + 1
    where lock_token = p_token and lock_expires_at > clock_timestamp()
    returning server_version into result;
    if result is null then
        raise exception 'the lock''s lease has expired, or another owner has taken it' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.bump_database_version(uuid) is
    'Increment a file''s version after the lock''s holder has published it. CA005 if the lease has expired.';
