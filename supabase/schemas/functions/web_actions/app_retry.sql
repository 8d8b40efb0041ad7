create or replace function captionacc.app_retry(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('retry', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_retry(uuid, text) is 'Retry a stage that ended in an error.';
