create or replace function captionacc.app_approve_layout(
    p_video_id uuid, p_crop_region jsonb default null, p_disable_age_boosting boolean default false
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('approve_layout', p_video_id,
        jsonb_build_object('crop_region', p_crop_region, 'disable_age_boosting', p_disable_age_boosting))
$$;
comment on function captionacc.app_approve_layout(uuid, jsonb, boolean) is
    'Approve a crop region (null: the proposed one). With p_disable_age_boosting the following runs gain '
    'no priority by waiting.';
