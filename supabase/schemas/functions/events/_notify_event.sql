create or replace function captionacc._notify_event(p_tenant_id uuid) returns void
language sql
set search_path = captionacc, pg_temp
as $$
    -- A channel's name has at most 63 bytes. Equal notifications of a transaction arrive once.
    select pg_notify(left(current_schema(), 56) || '_events', p_tenant_id::text)
$$;
comment on function captionacc._notify_event(uuid) is
    'Notify the channel <schema>_events that a tenant''s clients have something to hear.';
