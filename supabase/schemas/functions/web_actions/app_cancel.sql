create or replace function captionacc.app_cancel(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('cancel', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_cancel(uuid, text) is
    'Cancel a stage that a run works on or that waits for one.';
