create or replace function captionacc.app_rename_video(p_video_id uuid, p_name text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('rename', p_video_id, jsonb_build_object('name', p_name))
$$;
comment on function captionacc.app_rename_video(uuid, text) is 'Rename a video, as rename_video does.';
