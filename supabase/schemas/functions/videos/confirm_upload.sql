create or replace function captionacc.confirm_upload(p_video_id uuid, p_size_bytes bigint) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    if p_size_bytes is distinct from video.size_bytes then
        raise exception 'the file of video % has % bytes, and % were registered', p_video_id, p_size_bytes,
            video.size_bytes using errcode = 'CA002', hint = 'Upload the complete file.';
    elsif video.uploaded_at is not null then
        return video;
    end if;
    update videos set uploaded_at = clock_timestamp() where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.confirm_upload(uuid, bigint) is
    'Record that a registered file is completely in the bucket: from now on the video can be claimed. CA002 if '
    'its size is another one.';
