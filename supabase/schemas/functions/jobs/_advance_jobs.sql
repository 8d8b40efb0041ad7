create or replace function captionacc._advance_jobs(p_video captionacc.videos) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    job jobs;
    states jsonb := to_jsonb(p_video);
    stage text;
    status text;
    worker text;
    error jsonb;
    next_state text;
    note text;
begin
    for job in
        select * from jobs where video_id = p_video.id and finished_at is null and type <> 'export' for update
    loop
        next_state := 'succeeded';
        note := '';
        worker := job.run_id;
        if p_video.deleted_at is not null then
            next_state := 'cancelled';
            note := 'the video was deleted';
        else
            foreach stage in array _job_stages(job.type) loop
                status := states ->> (stage || '_status');
                error := states -> (stage || '_error_details');
                if status = 'error' then
                    next_state := case when error ->> 'error_type' in ('Cancelled', 'CancelledError')
                        then 'cancelled' else 'failed' end;
                    note := left(error ->> 'message', 1000);
                    exit;
                elsif states ->> (stage || '_run_id') is not null then
                    next_state := 'running';
                    worker := states ->> (stage || '_run_id');
                    note := case when worker is distinct from job.run_id then stage else job.message end;
                    exit;
                elsif status = 'wait' then
                    next_state := job.state;
                    note := job.message;
                    exit;
                elsif stage = 'layout' and status = 'annotate' and job.type = 'process' then
                    note := 'the layout waits for approval';
                    exit;
                end if;
            end loop;
        end if;
        continue when (next_state, note, worker) is not distinct from (job.state, job.message, job.run_id);
        update jobs set
            state = next_state, message = note, run_id = worker, updated_at = clock_timestamp(),
            started_at = case when next_state = 'running' then coalesce(started_at, clock_timestamp())
                else started_at end,
            progress = case when next_state = 'succeeded' then 100 else progress end,
            finished_at = case when next_state not in ('queued', 'running') then clock_timestamp() end
        where id = job.id;
    end loop;
end
$$;
comment on function captionacc._advance_jobs(captionacc.videos) is
    'Bring a video''s open jobs to the state that its stages show.';
