create or replace function captionacc.fail_cropped_frames_version(
    p_video_id uuid, p_version integer, p_message text, p_run_id text default null
) returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
    result cropped_frames_versions;
begin
    -- Deleted videos too: their incomplete objects have to be removed as well.
    perform from videos where id = p_video_id for update;
    found := _locked_version(p_video_id, p_version);
    if found.status = 'failed' or (p_run_id is not null and found.run_id <> p_run_id) then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %, so it cannot fail', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(), error_message = left(coalesce(p_message, ''), 4000)
    where video_id = p_video_id and version = p_version
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_cropped_frames_version(uuid, integer, text, text) is
    'Mark a version as failed, so that its objects can be removed. If a run is given, nothing changes '
    'when another run has taken over the version.';
