create or replace function captionacc.app_confirm_upload(p_video_id uuid, p_size_bytes bigint) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('confirm_upload', p_video_id, jsonb_build_object('size_bytes', p_size_bytes))
$$;
comment on function captionacc.app_confirm_upload(uuid, bigint) is 'Record that the user''s file is in the bucket, as confirm_upload does.';
