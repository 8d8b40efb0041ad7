create or replace function captionacc.renew_lock(p_token uuid, p_lease_seconds double precision) returns timestamptz
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result timestamptz;
begin
    perform _check_lease('layout', p_lease_seconds);
    -- An expired lease still belongs to its holder until another owner takes it.
    update video_database_state
    set lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where lock_token = p_token
    returning lock_expires_at into result;
    if result is null then
        raise exception 'the lock was released or taken over' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.renew_lock(uuid, double precision) is
    'Extend a lease from now on and return its new expiry time. CA005 if another owner has taken the '
    'lock.';
