create or replace function captionacc.app_finish_export(p_job_id uuid, p_result jsonb, p_message text default '')
returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('finish_export', (select video_id from jobs where id = p_job_id),
        jsonb_build_object('job_id', p_job_id, 'result', p_result, 'message', p_message))
$$;
comment on function captionacc.app_finish_export(uuid, jsonb, text) is 'End an export, as finish_export does.';
