create or replace function captionacc.retry_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    status text;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    status := to_jsonb(video) ->> (p_stage || '_status');
    if status <> 'error' then
        raise exception 'the % stage of video % is in state %, not error', p_stage, p_video_id, status
            using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'wait', %1$s_error_details = null, %1$s_requested_at = null, %1$s_unstarted_requests = 0
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.retry_stage(uuid, text) is
    'Return a stage from error to wait, so that it is claimed again.';
