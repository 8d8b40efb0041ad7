create or replace function captionacc.claim_new_videos(
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
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('layout', p_limit, stale, p_max_unstarted);
    return query select * from _accept_layouts(_claimable('layout', p_limit, stale, p_tenant_limit));
end
$$;
comment on function captionacc.claim_new_videos(integer, double precision, integer, integer) is
    'Claim uploaded videos for layout, taking tenants in turn and oldest first. Videos claimed more than '
    'p_restart_after_seconds ago that no run has begun are claimed again, up to p_max_unstarted times. At '
    'most p_tenant_limit of a tenant''s claims wait for runs at a time. A video over its tenant''s quota '
    'ends in the error QuotaExceededError with a recorded rejection; a retry checks the quota again.';
