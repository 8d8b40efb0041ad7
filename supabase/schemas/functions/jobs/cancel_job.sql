create or replace function captionacc.cancel_job(p_job_id uuid, p_cancelled_by text) returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result jobs;
    video videos;
    states jsonb;
    stage text;
begin
    perform _check_text(p_cancelled_by, 'who cancels');
    select * into result from jobs where id = p_job_id;
    if result.id is null then
        raise exception 'job % is not in the catalogue', p_job_id using errcode = 'CA012';
    elsif result.finished_at is not null then
        return result;
    end if;
    -- The video first, as every change of a stage locks it.
    select * into video from videos where id = result.video_id for update;
    states := to_jsonb(video);
    foreach stage in array _job_stages(result.type) loop
        if states ->> (stage || '_run_id') is not null or states ->> (stage || '_status') = 'wait' then
            -- The stages after it wait for this one, so they need no cancellation.
            perform cancel_stage(result.video_id, stage, p_cancelled_by);
            exit;
        end if;
    end loop;
    update jobs set state = 'cancelled', message = left('cancelled by ' || p_cancelled_by, 1000),
        finished_at = clock_timestamp(), updated_at = clock_timestamp()
    where id = p_job_id and finished_at is null;
    select * into result from jobs where id = p_job_id;
    return result;
end
$$;
comment on function captionacc.cancel_job(uuid, text) is
    'Cancel a job: its stage ends in the error CancelledError, and the run that works on it is ended. A '
    'finished job stays as it is. CA012.';
