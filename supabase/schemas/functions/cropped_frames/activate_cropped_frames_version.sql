create or replace function captionacc.activate_cropped_frames_version(
    p_video_id uuid, p_version integer, p_chunk_count integer, p_total_frames bigint, p_total_size_bytes bigint
) returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'active' then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %', p_version, p_video_id, found.status
            using errcode = 'CA002';
    end if;
    perform _check_owner(video, 'boundaries', found.run_id);
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and status = 'active';
    update cropped_frames_versions
    set status = 'active', activated_at = clock_timestamp(), chunk_count = p_chunk_count,
        total_frames = p_total_frames, total_size_bytes = p_total_size_bytes
    where video_id = p_video_id and version = p_version
    returning * into result;
    update videos set current_cropped_frames_version = p_version where id = p_video_id;
    return result;
end
$$;
comment on function captionacc.activate_cropped_frames_version(uuid, integer, integer, bigint, bigint) is
    'Make a version the one that readers use, once all its chunks are in the bucket, and archive the '
    'former one. CA002 if its run was displaced.';
