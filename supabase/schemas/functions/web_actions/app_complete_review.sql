create or replace function captionacc.app_complete_review(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('complete_review', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_complete_review(uuid, text) is
    'Complete the review of boundaries or text.';
