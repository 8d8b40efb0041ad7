create or replace function captionacc._locked_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
begin
    select * into found from cropped_frames_versions where video_id = p_video_id and version = p_version for update;
    if found.video_id is null then
        raise exception 'video % has no cropped-frames version %', p_video_id, p_version using errcode = 'CA009';
    end if;
    return found;
end
$$;
