create or replace function captionacc.confirm_compute_call_cancelled(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status <> 'cancelled' then
        raise exception 'compute call % is %, not cancelled', p_id, found.status using errcode = 'CA002';
    end if;
    update compute_calls set cancel_delivered_at = coalesce(cancel_delivered_at, clock_timestamp())
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.confirm_compute_call_cancelled(uuid) is
    'Record that the backend has stopped a cancelled call. CA002 if the call is not cancelled.';
