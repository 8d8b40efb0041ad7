create or replace function captionacc._check_limits(
    p_storage_quota_bytes bigint, p_video_count_limit integer, p_processing_minutes_limit numeric,
    p_daily_upload_limit integer
) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if least(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit, p_daily_upload_limit) < 0 then
        raise exception 'a limit is negative' using errcode = 'CA010', hint = 'Null is no limit.';
    end if;
end
$$;
