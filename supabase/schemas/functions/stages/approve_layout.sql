create or replace function captionacc.approve_layout(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb default null, p_caption_zones jsonb default null
)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    region jsonb := coalesce(p_crop_region, video.proposed_crop_region);
    zones jsonb;
begin
    perform _check_text(p_approved_by, 'who approves');
    if video.layout_status not in ('annotate', 'done') then
        raise exception 'the layout of video % cannot be approved in state %', p_video_id, video.layout_status
            using errcode = 'CA002';
    end if;
    if region is null then
        raise exception 'no caption band was found in video %, so there is no crop region to approve', p_video_id
            using errcode = 'CA003', hint = 'Give a crop region.';
    end if;
    perform _check_crop_region(region);
    if p_caption_zones is not null then
        zones := _checked_zones(p_caption_zones);
    elsif video.crop_region is not null then
        zones := video.caption_zones;
    else
        zones := _zones_beside(video.proposed_caption_zones, region);
    end if;
    -- Approving the same regions again does not process the video again.
    if video.layout_status = 'done' and video.crop_region = region and video.caption_zones = zones then
        return video;
    end if;
    return _approve_layout(p_video_id, p_approved_by, region, zones);
end
$$;
comment on function captionacc.approve_layout(uuid, text, jsonb, jsonb) is
    'Approve a crop region (null: the proposed one) and further zones (null: those approved before, or at '
    'first the proposed ones that do not overlap the region). A change gets a new crop_region_version, '
    'displaces the runs of boundaries and text and returns both stages to wait.';
