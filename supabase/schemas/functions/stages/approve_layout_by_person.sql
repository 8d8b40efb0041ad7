create or replace function captionacc.approve_layout_by_person(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb default null,
    p_disable_age_boosting boolean default false, p_caption_zones jsonb default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    -- First, so that the returned row has it.
    update videos set disable_age_boosting = coalesce(p_disable_age_boosting, false)
    where id = p_video_id and disable_age_boosting is distinct from coalesce(p_disable_age_boosting, false);
    result := approve_layout(p_video_id, p_approved_by, p_crop_region, p_caption_zones);
    return result;
end
$$;
comment on function captionacc.approve_layout_by_person(uuid, text, jsonb, boolean, jsonb) is
    'Approve a layout, as approve_layout does. With p_disable_age_boosting the following runs gain no priority by '
    'waiting.';
