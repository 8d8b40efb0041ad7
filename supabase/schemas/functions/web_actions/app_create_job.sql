create or replace function captionacc.app_create_job(
    p_video_id uuid, p_type text, p_parameters jsonb default '{}', p_priority integer default null
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('create_job', p_video_id,
        jsonb_build_object('type', p_type, 'parameters', p_parameters, 'priority', p_priority))
$$;
comment on function captionacc.app_create_job(uuid, text, jsonb, integer) is
    'Request work on a video, as create_job does. Only platform admins choose a priority.';
