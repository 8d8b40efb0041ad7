create or replace function captionacc._follow_database() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if new.lock_token is distinct from old.lock_token then
        perform _record_event(new.tenant_id, new.video_id, 'lock', jsonb_build_object(
            'video_id', new.video_id, 'database', new.database_name, 'owner', new.lock_owner,
            'type', new.lock_type, 'expires_at', new.lock_expires_at));
    end if;
    if new.server_version <> old.server_version then
        perform _record_event(new.tenant_id, new.video_id, new.database_name,
            jsonb_build_object('video_id', new.video_id, 'version', new.server_version));
    end if;
    return null;
end
$$;
comment on function captionacc._follow_database() is
    'Record as events that a client database was published, and that its lock was taken or released.';
