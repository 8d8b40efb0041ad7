create or replace function captionacc._quota_refusal(p_video captionacc.videos, p_more_videos integer, p_more_bytes bigint)
returns table (rejection_type text, message text)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    limits record;
    used record;
    today timestamptz := date_trunc('day', clock_timestamp() at time zone 'utc') at time zone 'utc';
    this_month timestamptz := date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc';
    amount numeric;
begin
    select * into limits from tenant_limits(p_video.tenant_id);
    select t.accepted_video_count + p_more_videos as accepted_video_count,
        t.accepted_bytes + p_more_bytes as accepted_bytes
    into used from tenants t where t.id = p_video.tenant_id;
    if used.accepted_video_count >= limits.video_count_limit then
        return query select 'video_count_exceeded', format(
            'There are %s videos and %s are allowed: delete one, or change to a larger plan.',
            used.accepted_video_count, limits.video_count_limit);
        return;
    end if;
    if used.accepted_bytes + p_video.size_bytes > limits.storage_quota_bytes then
        return query select 'storage_quota_exceeded', format(
            'This video of %s would exceed the storage limit of %s; %s are in use: delete videos, or '
            'change to a larger plan.', pg_size_pretty(p_video.size_bytes),
            pg_size_pretty(limits.storage_quota_bytes), pg_size_pretty(used.accepted_bytes));
        return;
    end if;
    if limits.daily_upload_limit is not null then
        select count(*) into amount from (
            select from videos v where v.tenant_id = p_video.tenant_id and v.accepted_at >= today
            limit limits.daily_upload_limit
        ) accepted;
        amount := amount + p_more_videos;
        if amount >= limits.daily_upload_limit then
            return query select 'daily_uploads_exceeded', format(
                'More than %s videos came in today (UTC): ask for this one again tomorrow.',
                limits.daily_upload_limit);
            return;
        end if;
    end if;
    if limits.processing_minutes_limit is not null then
        select coalesce(sum(metric_value), 0) into amount from usage_metrics
        where tenant_id = p_video.tenant_id and metric_type = 'processing_minutes' and recorded_at >= this_month;
        if amount >= limits.processing_minutes_limit then
            return query select 'processing_minutes_exceeded', format(
                'The %s minutes of processing of this month (UTC) are used up: ask again next month, or change '
                'to a larger plan.', limits.processing_minutes_limit);
        end if;
    end if;
end
$$;
comment on function captionacc._quota_refusal(captionacc.videos, integer, bigint) is
    'Return why a video may not be accepted now, in addition to others that are about to be accepted. No '
    'row if it may. The tenant''s row must be locked.';
