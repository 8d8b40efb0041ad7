-- Demo videos, which everybody may see, without tenant, uploader, storage key and run: a policy cannot restrict
-- columns. The views run with their owner's rights, because their readers have none on the tables. `offset 0`
-- makes them read-only even if somebody grants all rights on all tables to everybody.

create view captionacc.demo_videos with (security_barrier) as
    select id, display_path, size_bytes, created_at, updated_at, duration_seconds, width, height, frame_count,
        layout_status, crop_region, crop_region_version, boundaries_status, current_cropped_frames_version,
        caption_count, text_status, text_caption_count, caption_zones
    from captionacc.videos
    where is_demo and deleted_at is null
    offset 0;
comment on view captionacc.demo_videos is 'Public columns of the demo videos.';
create view captionacc.demo_cropped_frames_versions with (security_barrier) as
    select c.video_id, c.version, c.crop_region, c.crop_region_version, c.frame_rate, c.status, c.chunk_count,
        c.total_frames, c.caption_zones
    from captionacc.cropped_frames_versions c
    join captionacc.videos v on v.id = c.video_id
    where v.is_demo and v.deleted_at is null and c.status = 'active'
    offset 0;
comment on view captionacc.demo_cropped_frames_versions is 'Active cropped-frames versions of demo_videos.';
