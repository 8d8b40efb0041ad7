create or replace function captionacc.finish_text(
    p_video_id uuid, p_run_id text, p_caption_count integer, p_note text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    -- The run may have read in languages that were changed meanwhile: its texts are published, and read again.
    outdated boolean := coalesce(video.ocr_languages_set_at > video.text_started_at, false);
    result videos;
begin
    perform _check_owner(video, 'text', p_run_id);
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        text_status = case when outdated then 'wait' else 'annotate' end,
        text_requested_at = case when outdated then null else text_requested_at end,
        text_read_from = text_started_at, text_error_details = null, text_run_id = null,
        text_finished_at = clock_timestamp(), text_note = coalesce(p_note, ''),
        text_caption_count = p_caption_count
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_text(uuid, text, integer, text) is
    'Record that the text of the captions is published; p_caption_count captions have text. It waits for another '
    'run if the languages were changed since this one began.';
