drop function captionacc.finish_boundaries(uuid,text,integer,integer,text);

create or replace function captionacc.finish_boundaries(
    p_video_id uuid, p_run_id text, p_version integer, p_caption_count integer, p_note text default '',
    p_goes_on boolean default true
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    if video.current_cropped_frames_version is distinct from p_version then
        raise exception 'cropped-frames version % of video % is not the active one, %', p_version, p_video_id,
            coalesce(video.current_cropped_frames_version::text, 'none') using errcode = 'CA002';
    end if;
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        boundaries_status = 'annotate', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_finished_at = clock_timestamp(), boundaries_note = coalesce(p_note, ''),
        caption_count = p_caption_count,
        -- The same run continues with the text; if it does not after all, pending_text hands the text out later.
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = case when p_goes_on then clock_timestamp() end, text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_boundaries(uuid, text, integer, integer, text, boolean) is
    'Record that captions.db is published: the captions are ready for a person, and their text for OCR. '
    'Unless p_goes_on, the run does not continue with the text, which is handed out at once.';

create or replace function captionacc.restart_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    worker text;
    result videos;
begin
    if p_stage is null or p_stage not in ('layout', 'boundaries') then
        raise exception 'stage % is not layout or boundaries', coalesce(p_stage, 'null')
            using errcode = 'CA010', hint = 'Request new OCR of the captions to make their text again.';
    end if;
    video := _locked_video(p_video_id);
    if p_stage = 'layout' and video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_stage = 'boundaries' and (video.layout_status <> 'done' or video.crop_region is null) then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    end if;
    worker := coalesce(
        case when p_stage = 'layout' then video.layout_run_id end, video.boundaries_run_id, video.text_run_id);
    if worker is not null then
        raise exception 'run % works on video %', worker, p_video_id
            using errcode = 'CA002', hint = 'Wait until it ends, or cancel it.';
    end if;
    update videos set
        layout_status = 'wait', layout_error_details = null,
        layout_requested_at = null, layout_unstarted_requests = 0
    where id = p_video_id and p_stage = 'layout';
    update videos set
        boundaries_status = 'wait', boundaries_error_details = null,
        boundaries_requested_at = null, boundaries_unstarted_requests = 0,
        text_status = 'wait', text_error_details = null,
        text_requested_at = null, text_unstarted_requests = 0
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.restart_stage(uuid, text) is
    'Let a stage, layout or boundaries, and those after it wait for runs again, whatever their status. An '
    'approval of the layout stays, and so do the results until they are replaced. CA002 if the stage''s '
    'inputs are missing or a run works on one of these stages.';

revoke execute on function captionacc.finish_boundaries(uuid,text,integer,integer,text,boolean) from public;

revoke execute on function captionacc.restart_stage(uuid,text) from public;
