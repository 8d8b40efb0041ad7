create or replace function captionacc.app_take_lock(
    p_video_id uuid, p_database_name text, p_owner text, p_lease_seconds double precision,
    p_lock_type text default 'client'
) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := _refused_caller('take_lock', p_video_id);
    taken record;
    reason text;
    shown text;
begin
    if answer is not null then
        return answer;
    end if;
    if p_lease_seconds > 300 then
        return _not_taken('CA010', 'a lease of a user lasts at most 300 s');
    end if;
    -- The name that others see is the user's own, whatever the client says.
    select coalesce(nullif(display_name, ''), user_id::text) into shown
    from user_profiles where user_id = auth.uid();
    begin
        select * into taken from take_lock(p_video_id, p_database_name, shown, p_lease_seconds, 'client');
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text;
            return _not_taken(sqlstate, reason);
    end;
    return jsonb_build_object('ok', true, 'lock', to_jsonb(taken));
end
$$;
comment on function captionacc.app_take_lock(uuid, text, text, double precision, text) is
    'Take the lock of a database of the user''s video for at most 300 s, as take_lock does. A lock that is held '
    'is not recorded as a refusal: clients wait for it.';
