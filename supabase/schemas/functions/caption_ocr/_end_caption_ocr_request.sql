create or replace function captionacc._end_caption_ocr_request(
    p_request_id uuid, p_run_id text, p_status text, p_count integer, p_message text
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    if request.status = p_status and request.run_id = p_run_id then
        return request;
    end if;
    if request.status <> 'processing' or request.run_id is distinct from p_run_id then
        raise exception 'run % does not work on caption OCR request %, which is %', coalesce(p_run_id, 'null'),
            p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = p_status, finished_at = clock_timestamp(), caption_count = p_count,
        error_message = p_message
    where id = p_request_id returning * into result;
    return result;
end
$$;
