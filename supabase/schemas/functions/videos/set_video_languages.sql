create or replace function captionacc.set_video_languages(p_video_id uuid, p_languages text[])
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_languages(p_languages);
    if p_languages = video.ocr_languages then
        return video;
    end if;
    -- What was read in other languages is read again: frames while the layout waits for a person, and else the
    -- captions, whose layout and times do not depend on the language. A run that reads now has the former
    -- languages: finish_layout and finish_text see by the time that its results are outdated.
    update videos set
        ocr_languages = p_languages, ocr_languages_set_at = clock_timestamp(),
        text_read_from = coalesce(text_read_from, text_finished_at),
        layout_status = case when video.layout_status = 'annotate' then 'wait' else layout_status end,
        layout_requested_at =
            case when video.layout_status = 'annotate' then null else layout_requested_at end,
        layout_unstarted_requests =
            case when video.layout_status = 'annotate' then 0 else layout_unstarted_requests end,
        text_status = case when video.text_status = 'annotate' then 'wait' else text_status end,
        text_requested_at = case when video.text_status = 'annotate' then null else text_requested_at end,
        text_unstarted_requests =
            case when video.text_status = 'annotate' then 0 else text_unstarted_requests end
    where id = p_video_id
    returning * into result;
    perform _audit('set_video_languages', 'allowed', '', p_video_id,
        jsonb_build_object('from', to_jsonb(video.ocr_languages), 'to', to_jsonb(p_languages)));
    return result;
end
$$;
comment on function captionacc.set_video_languages(uuid, text[]) is
    'Set the languages of a video''s captions (none: its tenant''s). A layout that waits for a person, and '
    'captions that no person has reviewed, are read again, also those that a run reads now. Audited. CA007, '
    'CA010.';
