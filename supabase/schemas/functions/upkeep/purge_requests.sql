create or replace function captionacc.purge_requests(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint := 0;
    one bigint;
begin
    if not coalesce(p_older_than_seconds between 86400 and 3e9, false) then
        raise exception 'requests of the last day are not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from caption_ocr_requests where finished_at < before)
            + (select count(*) from run_cancellations where handled_at < before)
            + (select count(*) from caption_frame_extents_inference_rejections where acknowledged_at < before);
    end if;
    delete from caption_ocr_requests where finished_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    -- Its run ended long ago, so it cannot write any more.
    delete from run_cancellations where handled_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    delete from caption_frame_extents_inference_rejections where acknowledged_at < before;
    get diagnostics one = row_count;
    return removed + one;
end
$$;
comment on function captionacc.purge_requests(double precision, boolean) is
    'Delete ended OCR requests, handled run cancellations and acknowledged rejections older than '
    'p_older_than_seconds; a dry run only counts them.';
