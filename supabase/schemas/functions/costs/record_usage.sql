create or replace function captionacc.record_usage(
    p_tenant_id uuid,
    p_metric_type text,
    p_metric_value numeric,
    p_video_id uuid default null,
    p_cost_estimate_usd numeric default null,
    p_metadata jsonb default '{}'
) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into usage_metrics (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata)
    values (p_tenant_id, p_video_id, p_metric_type, p_metric_value, p_cost_estimate_usd, p_metadata)
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_usage(uuid, text, numeric, uuid, numeric, jsonb) is
    'Record an amount that a tenant used. Amounts of one kind add up.';
