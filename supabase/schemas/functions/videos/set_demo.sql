create or replace function captionacc.set_demo(p_video_id uuid, p_is_demo boolean) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    perform _locked_video(p_video_id);
    update videos set is_demo = coalesce(p_is_demo, false) where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.set_demo(uuid, boolean) is 'Set whether everybody may see a video.';
