create or replace function captionacc.tenant_limits(p_tenant_id uuid)
returns table (
    storage_quota_bytes bigint, video_count_limit integer, processing_minutes_limit numeric,
    daily_upload_limit integer
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(t.storage_quota_bytes, a.storage_quota_bytes), coalesce(t.video_count_limit, a.video_count_limit),
        coalesce(t.processing_minutes_limit, a.processing_minutes_limit),
        coalesce(t.daily_upload_limit, a.daily_upload_limit)
    from tenants t join access_tiers a on a.id = t.tier
    where t.id = p_tenant_id and not t.quota_exempt
$$;
comment on function captionacc.tenant_limits(uuid) is
    'Return the limits that apply to a tenant; null, or no row, means no limit.';
