create or replace function captionacc.begin_caption_ocr_request(p_request_id uuid, p_run_id text)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    perform _check_text(p_run_id, 'the run id');
    if request.status = 'processing' and request.run_id = p_run_id then
        return request;
    end if;
    -- A run takes over from one that died.
    if request.status not in ('queued', 'processing') then
        raise exception 'caption OCR request % is %', p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = 'processing', run_id = p_run_id, started_at = clock_timestamp(),
        unstarted_requests = 0
    where id = p_request_id returning * into result;
    return result;
end
$$;
comment on function captionacc.begin_caption_ocr_request(uuid, text) is
    'Make a run the worker of a request and displace any other run. CA002 if the request has ended.';
