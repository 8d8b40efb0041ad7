create or replace function captionacc._too_many(p_message text, p_hint text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform set_config('response.status', '429', true);
    return jsonb_build_object('ok', false, 'code', 'CA013', 'message', p_message, 'hint', p_hint, 'details', null);
end
$$;
