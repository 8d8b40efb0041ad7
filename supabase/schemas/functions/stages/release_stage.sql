create or replace function captionacc.release_stage(p_video_id uuid, p_stage text, p_run_id text)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    perform _check_owner(video, p_stage, p_run_id);
    execute format('update videos set %1$s_run_id = null where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.release_stage(uuid, text, text) is
    'Release the stage without changing its status: the run made only a part of its results. CA002 if the '
    'run is not the worker.';
