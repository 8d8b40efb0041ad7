create or replace function captionacc.mark_objects_removed(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status not in ('failed', 'archived') then
        raise exception 'cropped-frames version % of video % is %: its objects are needed', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_objects_removed(uuid, integer) is
    'Record that a version''s objects were removed from the bucket.';
