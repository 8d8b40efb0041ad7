create or replace function captionacc.app_cancel_job(p_job_id uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('cancel_job', (select video_id from jobs where id = p_job_id),
        jsonb_build_object('job_id', p_job_id))
$$;
comment on function captionacc.app_cancel_job(uuid) is 'Cancel a job, as cancel_job does.';
