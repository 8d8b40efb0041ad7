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
        raise exception 'compute call % is %, so its result is not taken', p_id, found.status using errcode = 'CA002';
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
    'Running to succeeded, with the result. It is taken once: a later one changes nothing, and gets the row with '
    'the first. CA002 for a call that failed or was cancelled.';
