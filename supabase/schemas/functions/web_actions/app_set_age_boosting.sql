create or replace function captionacc.app_set_age_boosting(p_video_id uuid, p_disabled boolean) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('set_age_boosting', p_video_id, jsonb_build_object('disabled', p_disabled))
$$;
comment on function captionacc.app_set_age_boosting(uuid, boolean) is
    'Set whether a video''s runs gain no priority by waiting, as set_age_boosting does.';
