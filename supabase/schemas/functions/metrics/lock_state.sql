create or replace function captionacc.lock_state()
returns table (
    database_name text, held bigint, expired bigint, oldest_expired_at timestamptz, oldest_held_at timestamptz,
    database_waits bigint
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select n.name, count(s.video_id) filter (where s.lock_expires_at > clock_timestamp()),
        count(s.video_id) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.lock_expires_at) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.locked_at) filter (where s.lock_expires_at > clock_timestamp()),
        (
            select count(*) from pg_catalog.pg_locks l
            where not l.granted
                and (l.database is null or l.database
                    = (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
        )
    from (values ('captions'), ('layout')) n (name)
    left join video_database_state s on s.database_name = n.name and s.lock_token is not null
    group by n.name
    order by n.name
$$;
comment on function captionacc.lock_state() is
    'Count the leases on client databases: held, and expired but never released because their holder '
    'died. database_waits is the number of transactions that wait for a database lock, repeated in each '
    'row.';
