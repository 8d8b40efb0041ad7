create or replace function captionacc.take_lock(
    p_video_id uuid,
    p_database_name text,
    p_owner text,
    p_lease_seconds double precision,
    p_lock_type text default 'server'
) returns table (token uuid, expires_at timestamptz)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state video_database_state;
begin
    perform _check_lease(p_database_name, p_lease_seconds);
    perform _check_text(p_owner, 'the lock''s owner');
    if p_lock_type is null or p_lock_type not in ('server', 'client') then
        raise exception 'lock type % is not server or client', coalesce(p_lock_type, 'null') using errcode = 'CA010';
    end if;
    -- Does not lock the video's row, because its stages are independent of the locks of its databases.
    select * into video from videos where id = p_video_id;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif video.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, date_trunc('second', video.deleted_at)
            using errcode = 'CA007';
    end if;
    insert into video_database_state (video_id, database_name, tenant_id)
    values (p_video_id, p_database_name, video.tenant_id)
    on conflict do nothing;
    -- One statement: the second of two concurrent takers waits for the first and then finds the lock held.
    update video_database_state s
    set lock_token = gen_random_uuid(), lock_owner = p_owner, lock_type = p_lock_type,
        locked_at = clock_timestamp(), lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where s.video_id = p_video_id and s.database_name = p_database_name
        and (s.lock_token is null or s.lock_expires_at <= clock_timestamp())
    returning * into state;
    if state.lock_token is null then
        select * into state from video_database_state s
        where s.video_id = p_video_id and s.database_name = p_database_name;
        raise exception '%.db of video % is locked by % until %', p_database_name, p_video_id, state.lock_owner,
            state.lock_expires_at using errcode = 'CA004';
    end if;
    return query select state.lock_token, state.lock_expires_at;
end
$$;
comment on function captionacc.take_lock(uuid, text, text, double precision, text) is
    'Take the lock of layout.db or captions.db if it is free or its lease has expired. CA004 if it is '
    'held.';

create or replace function captionacc._locked_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found captionacc.videos;
begin
    select * into found from videos where id = p_video_id for update;
    if found.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    if found.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, date_trunc('second', found.deleted_at)
            using errcode = 'CA007';
    end if;
    return found;
end
$$;
comment on function captionacc._locked_video(uuid) is
    'Return the video''s row, locked until the end of the transaction. CA001, CA007.';
