create or replace function captionacc.events_cursor(p_event_id text default null) returns text
language plpgsql stable security definer
set search_path = captionacc, pg_temp
as $$
declare
    snapshot pg_snapshot := pg_current_snapshot();
    last_transaction xid8;
    last_id bigint;
begin
    if p_event_id ~ '^\d{1,18}-\d{1,18}$' then
        last_transaction := split_part(p_event_id, '-', 1)::xid8;
        last_id := split_part(p_event_id, '-', 2)::bigint;
        -- Events are purged from the oldest on, so whatever is kept tells that nothing after it was purged. An
        -- id without an event is an earlier answer of this function.
        if last_transaction <= pg_snapshot_xmax(snapshot) and (
            exists (select from events where transaction_id = last_transaction and id = last_id)
            or (last_id = 0 and exists (select from events where transaction_id <= last_transaction))
        ) then
            return p_event_id;
        end if;
    end if;
    return pg_snapshot_xmin(snapshot)::text || '-0';
end
$$;
comment on function captionacc.events_cursor(text) is
    'Return the given id if events_after still returns every event after it. Otherwise (null, an event that was '
    'purged, an id of another database) return the id after which it returns the events of transactions that end '
    'from now on.';
