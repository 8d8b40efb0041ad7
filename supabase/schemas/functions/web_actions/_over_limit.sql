create or replace function captionacc._over_limit(p_action text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if _calls_left('allowed') <= 0 then
        return _too_many('600 of your actions were done within an hour', 'Try again later.');
    elsif p_action = 'request_caption_ocr' and (
        select count(*) from caption_ocr_requests where status = 'queued' and requested_by = auth.uid()::text
    ) >= 100 then
        return _too_many('100 of your requests for text wait already', 'Wait for some of them to be done.');
    end if;
    return null;
end
$$;
comment on function captionacc._over_limit(text) is
    'Null when the user of the request may act once more; otherwise the answer; nothing is recorded.';
