create or replace function captionacc.set_tenant_limits(
    p_tenant_id uuid,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null,
    p_quota_exempt boolean default false
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update tenants set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit,
        quota_exempt = coalesce(p_quota_exempt, false)
    where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_limits(uuid, bigint, integer, numeric, integer, boolean) is
    'Set a tenant''s own limits; null: its tier''s limit. With p_quota_exempt no limit applies.';
