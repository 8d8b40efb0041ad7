create or replace function captionacc.cancel_compute_call(p_id uuid, p_waiter uuid default null, p_message text default '')
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or (p_waiter is not null and found.waiter is distinct from p_waiter)
    then
        return found;
    end if;
    update compute_calls
    set status = 'cancelled', finished_at = clock_timestamp(),
        error_details = _error_details(p_message, 'CancelledError', run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.cancel_compute_call(uuid, uuid, text) is
    'Cancel an open call. If a waiter is given, only its own call is cancelled, because another attempt '
    'may want the result. The backend stops it afterwards; see confirm_compute_call_cancelled.';
