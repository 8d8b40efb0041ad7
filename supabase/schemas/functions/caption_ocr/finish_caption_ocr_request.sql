create or replace function captionacc.finish_caption_ocr_request(p_request_id uuid, p_run_id text, p_caption_count integer)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    return _end_caption_ocr_request(p_request_id, p_run_id, 'completed', p_caption_count, null);
end
$$;
comment on function captionacc.finish_caption_ocr_request(uuid, text, integer) is
    'Mark a request as completed: the text is published. CA002 if the run is not its worker.';
