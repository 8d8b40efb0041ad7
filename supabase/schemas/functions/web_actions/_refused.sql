create or replace function captionacc._refused(
    p_action text, p_video_id uuid, p_code text, p_message text, p_hint text, p_reason text
) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    left_over bigint := _calls_left('refused');
begin
    if left_over <= 0 then
        return _too_many('too many of your recent calls were refused', 'Try again in an hour.');
    end if;
    perform _audit(p_action, 'refused', p_reason, p_video_id, jsonb_build_object('code', p_code)
        || case when left_over = 1 then '{"further_refusals": "not recorded for now"}' else '{}' end::jsonb);
    perform set_config('response.status', case p_code
        when 'CA011' then '403' when 'CA001' then '404' when 'CA012' then '404'
        when 'CA003' then '400' when 'CA010' then '400' else '409' end, true);
    return jsonb_build_object(
        'ok', false, 'code', p_code, 'message', p_message, 'hint', nullif(p_hint, ''), 'details', null);
end
$$;
