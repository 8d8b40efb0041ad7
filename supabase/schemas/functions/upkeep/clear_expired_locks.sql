create or replace function captionacc.clear_expired_locks(
    p_older_than_seconds double precision default 3600, p_limit integer default 1000
) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    cleared integer;
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    with expired as materialized (
        select video_id, database_name from video_database_state
        where lock_token is not null
            and lock_expires_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by lock_expires_at limit p_limit
        for update skip locked
    )
    update video_database_state s
    set lock_token = null, lock_owner = null, lock_type = null, locked_at = null, lock_expires_at = null
    from expired e
    where s.video_id = e.video_id and s.database_name = e.database_name;
    get diagnostics cleared = row_count;
    return cleared;
end
$$;
comment on function captionacc.clear_expired_locks(double precision, integer) is
    'Clear leases that expired more than p_older_than_seconds ago and were not taken over; until then '
    'their holder could have renewed them. Returns their number.';
