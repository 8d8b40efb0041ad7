create or replace function captionacc._error_details(p_message text, p_error_type text, p_run_id text, p_attempt integer)
returns jsonb
language sql stable
set search_path = captionacc, pg_temp
as $$
    select jsonb_build_object(
        'message', left(coalesce(nullif(p_message, ''), 'no message'), 4000),
        'error_type', coalesce(p_error_type, ''),
        'run_id', p_run_id,
        'attempt', p_attempt,
        'failed_at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )
$$;
