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
