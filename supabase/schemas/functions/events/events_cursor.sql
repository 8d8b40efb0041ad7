create or replace function captionacc.events_cursor() returns text
language sql stable
set search_path = captionacc, pg_temp
as $$
    select pg_snapshot_xmin(pg_current_snapshot())::text || '-0'
$$;
comment on function captionacc.events_cursor() is
    'Return the id after which events_after returns the events of transactions that end from now on.';
