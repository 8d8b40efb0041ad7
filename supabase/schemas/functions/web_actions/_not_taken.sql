create or replace function captionacc._not_taken(p_code text, p_message text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform set_config('response.status', case p_code when 'CA010' then '400' when 'CA001' then '404' else '409' end,
        true);
    return jsonb_build_object('ok', false, 'code', p_code, 'message', p_message, 'hint', null, 'details', null);
end
$$;
comment on function captionacc._not_taken(text, text) is
    'Return the answer for a lock that cannot be taken or used, without recording it.';
