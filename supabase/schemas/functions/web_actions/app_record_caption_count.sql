create or replace function captionacc.app_record_caption_count(p_token uuid, p_caption_count integer) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('record_caption_count', p_token, jsonb_build_object('caption_count', p_caption_count))
$$;
comment on function captionacc.app_record_caption_count(uuid, integer) is 'Record the number of captions after an edit, as record_caption_count does.';
