create or replace function captionacc._locked_ocr_request(p_request_id uuid) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found caption_ocr_requests;
begin
    select * into found from caption_ocr_requests where id = p_request_id for update;
    if found.id is null then
        raise exception 'caption OCR request % is not in the catalogue', p_request_id using errcode = 'CA012';
    end if;
    return found;
end
$$;
