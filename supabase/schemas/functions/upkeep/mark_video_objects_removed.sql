create or replace function captionacc.mark_video_objects_removed(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    select * into result from videos where id = p_video_id for update;
    if result.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif result.deleted_at is null then
        raise exception 'video % is not deleted: its objects are needed', p_video_id using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = clock_timestamp()
    where video_id = p_video_id and status in ('failed', 'archived') and objects_removed_at is null;
    update videos set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_video_objects_removed(uuid) is
    'Record that a deleted video''s objects were removed from the bucket. CA002 if the video is not '
    'deleted.';
