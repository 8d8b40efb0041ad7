create or replace function captionacc.fail_caption_ocr_request(p_request_id uuid, p_run_id text, p_message text)
returns captionacc.caption_ocr_requests
language sql
set search_path = captionacc, pg_temp
as $$
    select * from _end_caption_ocr_request(p_request_id, p_run_id, 'failed', null,
        left(coalesce(nullif(p_message, ''), 'no message'), 4000))
$$;
comment on function captionacc.fail_caption_ocr_request(uuid, text, text) is
    'Mark a request as failed after the last attempt. CA002 if the run is not its worker.';
