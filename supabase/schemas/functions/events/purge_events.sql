create or replace function captionacc.purge_events(p_older_than_seconds double precision default 86400)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed integer;
begin
    if p_older_than_seconds is null or not p_older_than_seconds >= 3600 then
        raise exception 'events of the last hour are kept' using errcode = 'CA010';
    end if;
    delete from events where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_events(double precision) is
    'Delete events that are older; return their number. A client that was away for longer reads everything again.';
