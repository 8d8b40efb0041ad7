create or replace function captionacc.set_tier_limits(
    p_tier text,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update access_tiers set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_limits(text, bigint, integer, numeric, integer) is
    'Set what tenants of a tier may use (null: no limit), for videos claimed from now on.';
