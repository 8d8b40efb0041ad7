create or replace function captionacc.cancel_stage(p_video_id uuid, p_stage text, p_cancelled_by text)
returns captionacc.videos
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
    perform _check_text(p_cancelled_by, 'who cancels');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        return video;
    end if;
    if owner is null and (
        state ->> (p_stage || '_status') <> 'wait'
        or (p_stage = 'boundaries' and video.layout_status <> 'done')
        or (p_stage = 'text' and video.boundaries_status not in ('annotate', 'done'))
    ) then
        raise exception 'nothing works on, or waits for, the % stage of video % (it is in state %)', p_stage,
            p_video_id, state ->> (p_stage || '_status') using errcode = 'CA002';
    end if;
    if owner is not null then
        insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
        values (owner, video.tenant_id, p_video_id, p_stage, p_cancelled_by)
        on conflict (run_id) do nothing;
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details('cancelled by ' || $3, 'CancelledError', $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, owner, p_cancelled_by;
    if p_stage = 'text' then
        update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
        where video_id = p_video_id and status in ('queued', 'processing');
    end if;
    return result;
end
$$;
comment on function captionacc.cancel_stage(uuid, text, text) is
    'Cancel a stage that a run works on or that waits for one. It ends in the error CancelledError until '
    'it is retried, its run''s writes are refused, and pending_run_cancellations lists the run. CA002 if '
    'there is nothing to cancel.';
