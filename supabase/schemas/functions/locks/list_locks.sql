create or replace function captionacc.list_locks(p_include_expired boolean default false)
returns table (
    video_id uuid, database_name text, tenant_id uuid, lock_owner text, lock_type text,
    locked_at timestamptz, lock_expires_at timestamptz, expired boolean
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select s.video_id, s.database_name, s.tenant_id, s.lock_owner, s.lock_type, s.locked_at, s.lock_expires_at,
        s.lock_expires_at <= clock_timestamp()
    from video_database_state s
    where s.lock_token is not null and (p_include_expired or s.lock_expires_at > clock_timestamp())
    order by s.locked_at, s.video_id, s.database_name
$$;
comment on function captionacc.list_locks(boolean) is
    'List the locks with their owners and expiry times, without tokens.';
