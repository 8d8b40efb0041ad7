create or replace function captionacc._over_limit(p_action text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if _calls_left('allowed') <= 0 then
        return _too_many('you have used your 600 actions of this hour', 'Try again later.');
    elsif p_action = 'request_caption_ocr' and (
        select count(*) from caption_ocr_requests where status = 'queued' and requested_by = auth.uid()::text
    ) >= 100 then
        return _too_many('100 of your OCR requests are waiting already', 'Wait until some of them are done.');
    end if;
    return null;
end
$$;
comment on function captionacc._over_limit(text) is
    'Return the refusal if the request''s user has too many actions, otherwise null. Records nothing.';
