create or replace function captionacc._cancel_outdated_ocr_requests() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- The requests name captions that are about to be replaced, or a deleted video.
    update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
    where video_id = new.id and status in ('queued', 'processing');
    return null;
end
$$;
