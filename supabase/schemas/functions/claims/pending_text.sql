create or replace function captionacc.pending_text(
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
    perform _give_up_unstarted('text', p_limit, stale, p_max_unstarted);
    picked := _claimable('text', p_limit, stale, p_tenant_limit);
    return query
        with claimed as (
            update videos v
            set text_requested_at = clock_timestamp(),
                text_attempts = v.text_attempts + (v.text_unstarted_requests = 0)::integer,
                text_unstarted_requests = v.text_unstarted_requests + 1
            where v.id = any (picked)
            returning v.*
        )
        select * from claimed order by boundaries_finished_at, id;
end
$$;
comment on function captionacc.pending_text(integer, double precision, integer, integer) is
    'Claim videos with captions whose text needs a run of its own: after a retry, or when the run that '
    'found the captions did not continue with the text in time.';
