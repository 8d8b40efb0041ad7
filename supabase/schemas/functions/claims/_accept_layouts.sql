create or replace function captionacc._accept_layouts(p_video_ids uuid[]) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    refusal record;
    accepted uuid[] := p_video_ids;
    tenant uuid;
    more_videos integer;
    more_bytes bigint;
begin
    if coalesce(cardinality(p_video_ids), 0) = 0 then
        return;
    end if;
    -- All claims change tenants' counters in one order, so that they cannot deadlock.
    perform from tenants
    where id in (select v.tenant_id from videos v where v.id = any (p_video_ids) and v.accepted_at is null)
    order by id for no key update;
    for video in
        select v.* from videos v, lateral tenant_limits(v.tenant_id) l
        where v.id = any (p_video_ids) and v.accepted_at is null
            and num_nonnulls(l.storage_quota_bytes, l.video_count_limit, l.processing_minutes_limit,
                l.daily_upload_limit) > 0
        order by v.tenant_id, v.uploaded_at, v.id
    loop
        if video.tenant_id is distinct from tenant then
            tenant := video.tenant_id;
            more_videos := 0;
            more_bytes := 0;
        end if;
        select * into refusal from _quota_refusal(video, more_videos, more_bytes);
        if refusal.rejection_type is null then
            more_videos := more_videos + 1;
            more_bytes := more_bytes + video.size_bytes;
        else
            accepted := array_remove(accepted, video.id);
            perform record_rejection(video.tenant_id, refusal.rejection_type, refusal.message, video.id);
            update videos set layout_status = 'error',
                layout_error_details = _error_details(refusal.message, 'QuotaExceededError', null,
                    video.layout_attempts)
            where id = video.id;
        end if;
    end loop;
    return query
        with claimed as (
            update videos v
            set layout_requested_at = clock_timestamp(), accepted_at = coalesce(v.accepted_at, clock_timestamp()),
                -- A repeated claim is the same attempt, so that a run created for the first claim can tell
                -- it from new work.
                layout_attempts = v.layout_attempts + (v.layout_unstarted_requests = 0)::integer,
                layout_unstarted_requests = v.layout_unstarted_requests + 1
            where v.id = any (accepted)
            returning v.*
        )
        select * from claimed order by uploaded_at, id;
end
$$;
comment on function captionacc._accept_layouts(uuid[]) is
    'Claim videos that the caller has locked. Videos over their tenant''s quota end in an error instead.';
