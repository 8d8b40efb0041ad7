-- Of demo videos strangers read the columns that describe them, whoever the stranger is: someone signed in
-- read every column before (tenant, uploader, keys, run ids), also through Realtime, which sends a changed row
-- to each subscriber whom the policies let read it. A policy cannot choose columns, so demo videos leave the
-- policies of videos and cropped_frames_versions, and two views show what is for all.

drop policy videos_read on captionacc.videos;
create policy videos_read on captionacc.videos for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by_user_id = (select auth.uid()) or (select captionacc.is_tenant_owner()))
    )
    or (select captionacc.is_platform_admin())
);
revoke select (
    id, display_path, size_bytes, created_at, updated_at, duration_seconds, width, height, frame_count,
    layout_status, crop_region, crop_region_version, boundaries_status, current_cropped_frames_version,
    caption_count, text_status, text_caption_count, is_demo
) on captionacc.videos from anon;

drop policy cropped_frames_versions_read on captionacc.cropped_frames_versions;
create policy cropped_frames_versions_read on captionacc.cropped_frames_versions
    for select to authenticated
    using (video_id in (select v.id from captionacc.videos v));
revoke select (video_id, version, crop_region, crop_region_version, frame_rate, status, chunk_count, total_frames)
    on captionacc.cropped_frames_versions from anon;

-- With its owner's rights, since its readers have none on the tables. With an offset PostgreSQL takes no
-- changes through a view: whoever grants all on all tables to everybody must not open a way around the policies.
create view captionacc.demo_videos with (security_barrier) as
    select id, display_path, size_bytes, created_at, updated_at, duration_seconds, width, height, frame_count,
        layout_status, crop_region, crop_region_version, boundaries_status, current_cropped_frames_version,
        caption_count, text_status, text_caption_count
    from captionacc.videos
    where is_demo and deleted_at is null
    offset 0;
comment on view captionacc.demo_videos is 'What everybody may know of the videos that everybody may look at.';

create view captionacc.demo_cropped_frames_versions with (security_barrier) as
    select c.video_id, c.version, c.crop_region, c.crop_region_version, c.frame_rate, c.status, c.chunk_count,
        c.total_frames
    from captionacc.cropped_frames_versions c
    join captionacc.videos v on v.id = c.video_id
    where v.is_demo and v.deleted_at is null and c.status = 'active'
    offset 0;
comment on view captionacc.demo_cropped_frames_versions is 'The cropped frames of demo_videos.';

grant select on captionacc.demo_videos, captionacc.demo_cropped_frames_versions to anon, authenticated;
