create or replace function captionacc.fail_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_message text, p_error_type text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'error'
        and state -> (p_stage || '_error_details') ->> 'run_id' = p_run_id
    then
        return video;
    end if;
    -- A run that died before it began the stage may report its failure; one that ended or was displaced may not.
    if not (
        state ->> (p_stage || '_run_id') is null
        and state ->> (p_stage || '_status') = 'wait'
        and state ->> (p_stage || '_last_run_id') is distinct from p_run_id
    ) then
        perform _check_owner(video, p_stage, p_run_id);
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_last_run_id = $2, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details($3, $4, $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id, p_message, p_error_type;
    return result;
end
$$;
comment on function captionacc.fail_stage(uuid, text, text, text, text) is
    'Record that a run''s last attempt failed; repeating the call is harmless. CA002 if the run is not the '
    'worker.';
