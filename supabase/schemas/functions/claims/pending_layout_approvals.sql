create or replace function captionacc.pending_layout_approvals(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
    picked uuid[];
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('boundaries', p_limit, stale, p_max_unstarted);
    picked := _claimable('boundaries', p_limit, stale, p_tenant_limit);
    return query
        with claimed as (
            update videos v
            set boundaries_requested_at = clock_timestamp(),
                boundaries_attempts = v.boundaries_attempts + (v.boundaries_unstarted_requests = 0)::integer,
                boundaries_unstarted_requests = v.boundaries_unstarted_requests + 1
            where v.id = any (picked)
            returning v.*
        )
        select * from claimed order by layout_approved_at, id;
end
$$;
comment on function captionacc.pending_layout_approvals(integer, double precision, integer, integer) is
    'Claim approved layouts whose crop region has not been processed. Claims are repeated like those of '
    'new videos.';
