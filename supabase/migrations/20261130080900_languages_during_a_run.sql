alter table captionacc.videos add column ocr_languages_set_at timestamp with time zone;

alter table captionacc.videos add column text_read_from timestamp with time zone;

create or replace function captionacc.finish_layout(
    p_video_id uuid,
    p_run_id text,
    p_duration_seconds double precision,
    p_width integer,
    p_height integer,
    p_video_codec text,
    p_frame_count bigint,
    p_layout_found boolean,
    p_layout_confidence double precision,
    p_crop_region jsonb default null,
    p_note text default '',
    p_bitrate bigint default null,
    p_full_frame_count integer default null,
    p_ocr_box_count integer default null,
    p_failed_ocr_count integer default null,
    p_damage text default '',
    p_caption_zones jsonb default '[]',
    p_goes_on boolean default false,
    p_former_run_id text default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
    zones jsonb := _checked_zones(p_caption_zones);
    -- Read in languages that were changed meanwhile; an approved layout does not depend on them.
    outdated boolean := video.crop_region is null
        and coalesce(video.ocr_languages_set_at > video.layout_started_at, false);
begin
    perform _check_owner(video, 'layout', p_run_id);
    if p_crop_region is not null then
        perform _check_crop_region(p_crop_region);
    end if;
    if p_layout_found is null or (p_layout_found and p_crop_region is null) then
        raise exception 'a layout that was found needs a crop region' using errcode = 'CA010';
    end if;
    -- Only a person may change an approval, not a later analysis.
    update videos set
        duration_seconds = p_duration_seconds, width = p_width, height = p_height, video_codec = p_video_codec,
        bitrate = coalesce(p_bitrate, bitrate), frame_count = p_frame_count,
        full_frame_count = coalesce(p_full_frame_count, full_frame_count),
        ocr_box_count = coalesce(p_ocr_box_count, ocr_box_count),
        failed_ocr_count = coalesce(p_failed_ocr_count, failed_ocr_count), damage = coalesce(p_damage, ''),
        layout_status =
            case when outdated then 'wait' when crop_region is null then 'annotate' else 'done' end,
        layout_requested_at = case when outdated then null else layout_requested_at end,
        layout_error_details = null, layout_run_id = null, layout_finished_at = clock_timestamp(),
        layout_note = coalesce(p_note, ''), layout_found = p_layout_found,
        layout_confidence = p_layout_confidence, proposed_crop_region = p_crop_region::crop_region,
        proposed_caption_zones = zones
    where id = p_video_id
    returning * into result;
    -- Without a caption band the confidence is that of its absence. A policy that accepts it processes the
    -- fallback region, which gives an empty result without asking a person.
    if not outdated and result.crop_region is null and p_crop_region is not null and exists (
        select from tenants
        where id = result.tenant_id and p_layout_confidence >= auto_approve_layout_confidence
    ) then
        result := _approve_layout(p_video_id, 'auto', p_crop_region, zones);
    end if;
    -- A run that makes the captions too takes over here: a moment later the approval is anybody's to claim.
    if p_goes_on and result.layout_status = 'done' and result.boundaries_status = 'wait'
        and (result.boundaries_run_id is null and result.boundaries_requested_at is null
            or result.boundaries_run_id = p_former_run_id)
    then
        update videos
        set boundaries_attempts = boundaries_attempts + (boundaries_run_id is null)::integer
        where id = p_video_id;
        result := begin_stage(p_video_id, 'boundaries', p_run_id);
    end if;
    return result;
end
$$;
comment on function captionacc.finish_layout(
    uuid, text, double precision, integer, integer, text, bigint, boolean, double precision, jsonb,
    text, bigint, integer, integer, integer, text, jsonb, boolean, text
) is
    'Record a layout: ready for a person, or approved as ''auto'' by the tenant''s policy. If no caption '
    'band was found, the confidence is that of its absence and the crop region is a fallback. An earlier '
    'approval and its crop region stay. If the languages were changed since the run began, an unapproved layout '
    'waits for another one. With p_goes_on, the run is also made the worker of the boundaries if '
    'these wait and nobody has claimed them; p_former_run_id is the run that it retries. CA002 if the run is '
    'not the worker.';

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

comment on column captionacc.videos.ocr_languages_set_at is 'When the languages were last changed.';

comment on column captionacc.videos.text_read_from is 'When the run began whose texts were published last. Texts that it read before the languages were changed are read again.';
