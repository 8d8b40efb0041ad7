create or replace function captionacc.fail_compute_call(
    p_id uuid, p_waiter uuid, p_message text, p_error_type text default '', p_usage jsonb default null
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or found.waiter is distinct from p_waiter then
        return found;
    end if;
    update compute_calls
    set status = 'failed', finished_at = clock_timestamp(), usage = p_usage,
        error_details = _error_details(p_message, p_error_type, run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_compute_call(uuid, uuid, text, text, jsonb) is
    'Mark an open call as failed, on behalf of its waiter; the same request is then a new call. Otherwise '
    'nothing changes.';
