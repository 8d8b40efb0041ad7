create or replace function captionacc.allot_cropped_frames_version(
    p_video_id uuid, p_run_id text, p_crop_region jsonb, p_caption_zones jsonb default '[]'
)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    allotted integer;
    zones jsonb := _checked_zones(p_caption_zones);
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    perform _check_crop_region(p_crop_region);
    if p_crop_region is distinct from video.crop_region::jsonb then
        raise exception 'crop region % of video % is not the approved one, %', p_crop_region, p_video_id,
            video.crop_region using errcode = 'CA002';
    end if;
    if zones <> video.caption_zones then
        raise exception 'caption zones % of video % are not the approved ones, %', zones, p_video_id,
            video.caption_zones using errcode = 'CA002';
    end if;
    update cropped_frames_versions v set run_id = p_run_id
    where v.video_id = p_video_id and v.status = 'processing'
        and v.crop_region_version = video.crop_region_version and v.crop_region::jsonb = p_crop_region
        and v.caption_zones = zones
        and exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.cropped_frames_version = v.version
                and c.function_name = 'crop_and_infer_caption_frame_extents'
                and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
        )
    returning v.version into allotted;
    if allotted is not null then
        return allotted;
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(),
        error_message = 'left unfinished; run ' || p_run_id || ' started over'
    where video_id = p_video_id and status = 'processing';
    select coalesce(max(version), 0) + 1 into allotted from cropped_frames_versions where video_id = p_video_id;
    insert into cropped_frames_versions
        (video_id, version, tenant_id, run_id, crop_region, crop_region_version, caption_zones)
    values (p_video_id, allotted, video.tenant_id, p_run_id, p_crop_region::crop_region,
        video.crop_region_version, zones);
    return allotted;
end
$$;
comment on function captionacc.allot_cropped_frames_version(uuid, text, jsonb, jsonb) is
    'Return a version number for the run that works on the boundaries: the unfinished version of an '
    'earlier attempt at the same zones, if calls for it are running or have unsettled results; '
    'otherwise a number that was never used. Other unfinished versions are marked as failed.';
