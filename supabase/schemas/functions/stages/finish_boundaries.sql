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
