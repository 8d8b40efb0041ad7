create or replace function captionacc.finish_compute_call(p_id uuid, p_waiter uuid, p_result jsonb, p_usage jsonb default null)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status = 'succeeded' then
        return found;
    end if;
    if found.status <> 'running' then
        raise exception 'compute call % is %, so its result is not stored', p_id, found.status using errcode = 'CA002';
    end if;
    if p_result is null then
        raise exception 'the result of compute call % is empty', p_id using errcode = 'CA010';
    end if;
    update compute_calls
    set status = 'succeeded', result = p_result, usage = p_usage, finished_by = p_waiter,
        finished_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_compute_call(uuid, uuid, jsonb, jsonb) is
    'Store the result of a running call: running to succeeded. Only the first result is stored; later '
    'callers get the row with it. CA002 if the call failed or was cancelled.';
