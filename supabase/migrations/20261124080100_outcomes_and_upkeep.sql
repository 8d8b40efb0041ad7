-- How runs end, and what is cleared away later: tries in the row, runs of deleted videos, leases and
-- versions that nobody will finish, objects of deleted videos.

alter table captionacc.videos
    add column layout_tries integer not null default 0 check (layout_tries >= 0),
    add column layout_run_try integer not null default 0 check (layout_run_try >= 0),
    add column boundaries_tries integer not null default 0 check (boundaries_tries >= 0),
    add column boundaries_run_try integer not null default 0 check (boundaries_run_try >= 0),
    add column text_tries integer not null default 0 check (text_tries >= 0),
    add column text_run_try integer not null default 0 check (text_run_try >= 0),
    add column objects_removed_at timestamptz;
comment on column captionacc.videos.layout_tries is
    'How often the work was begun, repetitions within a run included; never goes back.';
comment on column captionacc.videos.layout_run_try is 'Which try of layout_last_run_id this is or was, from 1.';
comment on column captionacc.videos.objects_removed_at is
    'When a deleted video''s objects were removed from the bucket.';
create index videos_to_remove on captionacc.videos (deleted_at)
    where deleted_at is not null and objects_removed_at is null;
create index cropped_frames_versions_unfinished on captionacc.cropped_frames_versions (created_at)
    where status = 'processing';
create index caption_ocr_requests_in_work on captionacc.caption_ocr_requests (run_id) where status = 'processing';

drop function captionacc.begin_stage(uuid, text, text, boolean);
create function captionacc.begin_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_take_over boolean default true, p_try integer default 1
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    owner text;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    if p_try is null or p_try not between 1 and 1000 then
        raise exception 'try % of run % is not usable', p_try, p_run_id using errcode = 'CA010';
    end if;
    video := _locked_video(p_video_id);
    if p_stage = 'layout' and video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_stage = 'boundaries' and (video.layout_status <> 'done' or video.crop_region is null) then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    elsif p_stage = 'text' and video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if owner = p_run_id then
        -- Telling it twice counts once.
        if (state ->> (p_stage || '_run_try'))::integer >= p_try then
            return video;
        end if;
        execute format(
            $sql$
            update videos set %1$s_tries = %1$s_tries + $2 - %1$s_run_try, %1$s_run_try = $2
            where id = $1 returning *
            $sql$, p_stage)
        into result using p_video_id, p_try;
        return result;
    end if;
    if exists (select from run_cancellations where run_id = p_run_id) then
        raise exception 'run % was cancelled', p_run_id using errcode = 'CA002';
    end if;
    -- A run that waited in its queue when the work was cancelled must not begin it after all.
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        raise exception 'the % stage of video % was cancelled', p_stage, p_video_id
            using errcode = 'CA002', hint = 'Retry it first.';
    end if;
    if owner is not null and not p_take_over then
        raise exception 'run % works on the % stage of video %', owner, p_stage, p_video_id using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_run_id = $2, %1$s_started_at = clock_timestamp(),
            %1$s_tries = %1$s_tries
                + case when %1$s_last_run_id = $2 then greatest($3 - %1$s_run_try, 0) else $3 end,
            %1$s_run_try = case when %1$s_last_run_id = $2 then greatest($3, %1$s_run_try) else $3 end,
            %1$s_last_run_id = $2,
            %1$s_requested_at = coalesce(%1$s_requested_at, clock_timestamp()), %1$s_unstarted_requests = 0,
            %1$s_status = case %1$s_status when 'error' then 'wait' else %1$s_status end,
            %1$s_error_details = null
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id, p_try;
    return result;
end
$$;
comment on function captionacc.begin_stage(uuid, text, text, boolean, integer) is
    'Make a run the worker of a stage, at its p_try-th try; telling it twice is harmless. Another run is displaced '
    '(and refused when it finishes) unless p_take_over is false. CA002 when what the stage needs is not there.';

create or replace function captionacc.soft_delete_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    select * into video from videos where id = p_video_id for update;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    -- Whoever works on it is to stop: nobody wants the result, and a GPU costs.
    insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
    select owner, video.tenant_id, video.id, stage, 'the video''s deletion'
    from (values (video.layout_run_id, 'layout'), (video.boundaries_run_id, 'boundaries'),
        (video.text_run_id, 'text')) work (owner, stage)
    where owner is not null
    on conflict (run_id) do nothing;
    update videos
    set deleted_at = coalesce(deleted_at, clock_timestamp()),
        layout_run_id = null, boundaries_run_id = null, text_run_id = null
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.soft_delete_video(uuid) is
    'Take a video out of all processing; a run that works on it is refused when it finishes, and is to be ended.';

-- ---------------------------------------------------------------------------------------------
-- Upkeep

create function captionacc.clear_expired_locks(
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
    'Forget leases that ran out so long ago and that nobody took over. Their holders could have renewed them until '
    'now. Gives how many.';

drop function captionacc.removable_cropped_frames_versions(integer, double precision);
create function captionacc.removable_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400, p_status text default null
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    if p_status is not null and p_status not in ('failed', 'archived') then
        raise exception 'status % is not failed or archived', p_status using errcode = 'CA010';
    end if;
    return query
        select * from cropped_frames_versions
        where status in ('failed', 'archived') and objects_removed_at is null
            and (p_status is null or status = p_status)
            and coalesce(archived_at, failed_at) < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by video_id, version limit p_limit;
end
$$;
comment on function captionacc.removable_cropped_frames_versions(integer, double precision, text) is
    'Failed and archived versions, or those of one status, whose objects are still in the bucket, ended longer ago '
    'than that.';

create function captionacc.abandoned_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select c.* from cropped_frames_versions c join videos v on v.id = c.video_id
        where c.status = 'processing'
            and c.created_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and v.boundaries_run_id is distinct from c.run_id
            and not exists (
                select from compute_calls o
                where o.video_id = c.video_id and o.cropped_frames_version = c.version
                    and o.status in ('pending', 'running')
            )
        order by c.created_at limit p_limit;
end
$$;
comment on function captionacc.abandoned_cropped_frames_versions(integer, double precision) is
    'Unfinished versions that were allotted longer ago than that, whose run does not work on them and for which no '
    'call is open: fail_cropped_frames_version ends them.';

create function captionacc.removable_videos(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select * from videos
        where deleted_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and objects_removed_at is null
        order by deleted_at limit p_limit;
end
$$;
comment on function captionacc.removable_videos(integer, double precision) is
    'Videos that were deleted longer ago than that and whose objects are still in the bucket.';

create function captionacc.mark_video_objects_removed(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    select * into result from videos where id = p_video_id for update;
    if result.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif result.deleted_at is null then
        raise exception 'video % is not deleted: its objects are needed', p_video_id using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = clock_timestamp()
    where video_id = p_video_id and status in ('failed', 'archived') and objects_removed_at is null;
    update videos set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_video_objects_removed(uuid) is
    'A deleted video''s objects are gone from the bucket. CA002 for a video that is not deleted.';

revoke execute on all functions in schema captionacc from public;
