create or replace function captionacc.claim_caption_ocr_requests(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    if p_tenant_limit is not null and p_tenant_limit < 1 then
        raise exception 'a limit of % for a tenant is not usable', p_tenant_limit using errcode = 'CA010';
    end if;
    update caption_ocr_requests r set status = 'failed', finished_at = clock_timestamp(),
        error_message = format('requested %s times, but no run began', r.unstarted_requests)
    where r.status = 'queued' and r.requested_at < stale and r.unstarted_requests >= p_max_unstarted;
    return query
        with turns as (
            select r.id, row_number() over (partition by r.tenant_id order by r.created_at, r.id) + (
                select count(*) from caption_ocr_requests a
                where a.tenant_id = r.tenant_id and a.status = 'queued' and a.requested_at >= stale
            ) as turn, r.requested_at, r.created_at
            from caption_ocr_requests r
            where r.status = 'queued' and (r.requested_at is null or r.requested_at < stale)
        ), chosen as (
            select id from turns where turn <= coalesce(p_tenant_limit, 10000) or requested_at is not null
            order by turn, created_at, id limit p_limit
        ), picked as materialized (
            select r.id from caption_ocr_requests r
            where r.id in (select id from chosen) and r.status = 'queued'
                and (r.requested_at is null or r.requested_at < stale)
            for update skip locked
        ), claimed as (
            update caption_ocr_requests r
            set requested_at = clock_timestamp(), unstarted_requests = r.unstarted_requests + 1,
                attempts = r.attempts + (r.unstarted_requests = 0)::integer
            from picked where r.id = picked.id
            returning r.*
        )
        select * from claimed order by created_at, id;
end
$$;
comment on function captionacc.claim_caption_ocr_requests(integer, double precision, integer, integer) is
    'Claim requests without a run, taking tenants in turn. Claims are repeated like those of new videos.';
