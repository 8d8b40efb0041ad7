create or replace function captionacc.archive_cropped_frames_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'archived' then
        return found;
    end if;
    if found.status <> 'active' then
        raise exception 'cropped-frames version % of video % is %, so it cannot be archived', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    if video.boundaries_status in ('annotate', 'done') then
        raise exception 'cropped-frames version % of video % is the one its captions were made from', p_version,
            p_video_id using errcode = 'CA002', hint = 'Activate another one, which archives it.';
    end if;
    update videos set current_cropped_frames_version = null where id = p_video_id;
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.archive_cropped_frames_version(uuid, integer) is
    'Archive the active version; activating another version does the same. CA002 while captions depend on '
    'it.';
