create or replace function captionacc._record_event(p_tenant_id uuid, p_video_id uuid, p_kind text, p_payload jsonb)
returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    insert into events (tenant_id, video_id, kind, payload) values (p_tenant_id, p_video_id, p_kind, p_payload);
    perform _notify_event(p_tenant_id);
end
$$;
comment on function captionacc._record_event(uuid, uuid, text, jsonb) is
    'Add an event, and notify the channel <schema>_events at the end of the transaction.';
