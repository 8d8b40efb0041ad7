create or replace function captionacc._with_lock(p_action text, p_token uuid, p_arguments jsonb default '{}')
returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    reason text;
    value jsonb;
begin
    if not exists (
        select from video_database_state s
        where s.lock_token = p_token and s.lock_type = 'client'
    ) and p_action <> 'release_lock' then
        return _not_taken('CA005', 'the lock was released or taken over');
    end if;
    begin
        value := case p_action
            when 'renew_lock' then
                to_jsonb(renew_lock(p_token, least((p_arguments ->> 'lease_seconds')::double precision, 300)))
            when 'release_lock' then to_jsonb(release_lock(p_token))
            when 'bump_database_version' then to_jsonb(bump_database_version(p_token))
            when 'record_caption_count' then
                to_jsonb(record_caption_count(p_token, (p_arguments ->> 'caption_count')::integer))
        end;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text;
            return _not_taken(sqlstate, reason);
    end;
    return jsonb_build_object('ok', true, 'value', jsonb_build_object(p_action, value));
end
$$;
comment on function captionacc._with_lock(text, uuid, jsonb) is
    'Do what only the holder of a client''s lock may do: the token is the proof.';
