create or replace function captionacc.held_locks(p_limit integer default 500)
returns table (video_id uuid, database text, owner text, type text, expires_at timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select s.video_id, s.database_name, s.lock_owner, s.lock_type, s.lock_expires_at
    from video_database_state s
    where s.lock_expires_at > clock_timestamp()
    order by s.lock_expires_at desc limit p_limit
$$;
comment on function captionacc.held_locks(integer) is
    'Return the locks that are held on databases of the caller''s videos, as lock events have them.';
