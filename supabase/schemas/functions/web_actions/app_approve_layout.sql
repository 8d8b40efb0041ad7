create or replace function captionacc.app_approve_layout(
    p_video_id uuid, p_crop_region jsonb default null, p_disable_age_boosting boolean default false,
    p_caption_zones jsonb default null
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('approve_layout', p_video_id,
        jsonb_build_object('crop_region', p_crop_region, 'disable_age_boosting', p_disable_age_boosting)
        || case when p_caption_zones is null then '{}' else jsonb_build_object('caption_zones', p_caption_zones) end)
$$;
comment on function captionacc.app_approve_layout(uuid, jsonb, boolean, jsonb) is
    'Approve a crop region and further zones, as approve_layout does. With p_disable_age_boosting the following runs gain '
    'no priority by waiting.';
