create or replace function captionacc.begin_stage(
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
        -- A repeated call counts once.
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
    -- A run that was queued when the stage was cancelled must not begin it.
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
    'Make a run the worker of a stage, at try p_try; repeating the call is harmless. Another run is '
    'displaced, and refused when it finishes, unless p_take_over is false. CA002 if the stage''s inputs '
    'are missing.';
