create or replace function captionacc.assign_compute_call(p_id uuid, p_waiter uuid, p_call_id text)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    perform _check_text(p_call_id, 'the call id');
    if found.status = 'running' and found.call_id = p_call_id then
        return found;
    end if;
    if found.status <> 'pending' or found.waiter is distinct from p_waiter then
        raise exception 'compute call % is % and may not be started by this attempt', p_id, found.status
            using errcode = 'CA002';
    end if;
    update compute_calls set status = 'running', call_id = p_call_id, started_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.assign_compute_call(uuid, uuid, text) is
    'Record the backend''s id of a started call: pending to running. CA002 if another attempt starts the '
    'call or it is no longer wanted; the caller must then cancel what it started.';
