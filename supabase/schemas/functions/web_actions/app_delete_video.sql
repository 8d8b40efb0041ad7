create or replace function captionacc.app_delete_video(p_video_id uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('delete', p_video_id, '{}')
$$;
comment on function captionacc.app_delete_video(uuid) is 'Delete a video, as soft_delete_video does.';
