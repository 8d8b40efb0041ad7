create or replace function captionacc.charge_compute_call(
    p_id uuid, p_cost_usd numeric, p_seconds numeric, p_metadata jsonb default '{}'
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
    result compute_calls;
begin
    -- Locks the video before the call, as open_compute_call does.
    perform from videos where id = (select c.video_id from compute_calls c where c.id = p_id) for key share;
    found := _locked_compute_call(p_id);
    if found.charged_at is not null then
        return found;
    end if;
    if found.finished_at is null then
        raise exception 'compute call % is %, so its cost is not known yet', p_id, found.status
            using errcode = 'CA002';
    end if;
    if not coalesce(p_cost_usd >= 0 and p_cost_usd < 'infinity' and p_seconds >= 0 and p_seconds < 'infinity', false)
    then
        raise exception 'a cost of % for % s is not usable', coalesce(p_cost_usd::text, 'null'),
            coalesce(p_seconds::text, 'null') using errcode = 'CA010';
    end if;
    insert into usage_metrics
        (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata, recorded_at)
    values (
        found.tenant_id, found.video_id, 'container_seconds', p_seconds, p_cost_usd,
        coalesce(p_metadata, '{}') || jsonb_build_object('function', found.function_name, 'run_id', found.run_id,
            'compute_call_id', found.id, 'status', found.status),
        found.finished_at
    );
    update compute_calls set cost_usd = p_cost_usd, charged_at = clock_timestamp() where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.charge_compute_call(uuid, numeric, numeric, jsonb) is
    'Record the cost of an ended call. Runs on failure too: failed and cancelled calls are billed. The '
    'cost is counted once, in the month in which the call ended. CA002 if the call is still running.';
