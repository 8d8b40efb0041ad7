create or replace function captionacc.rename_video(p_video_id uuid, p_name text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    if btrim(coalesce(p_name, '')) = '' then
        raise exception 'a video''s name may not be empty' using errcode = 'CA010';
    elsif length(p_name) > 1024 then
        raise exception 'a name of % characters is too long', length(p_name)
            using errcode = 'CA010', hint = 'Give at most 1024.';
    elsif clean_name(p_name) = video.display_path then
        return video;
    end if;
    update videos set display_path = p_name where id = p_video_id returning * into result;
    perform _audit('rename_video', 'allowed', '', p_video_id,
        jsonb_build_object('from', video.display_path, 'to', result.display_path));
    return result;
end
$$;
comment on function captionacc.rename_video(uuid, text) is
    'Change a video''s display name, cleaned as by clean_name; nothing else depends on the name. Audited. '
    'CA007, CA010.';
