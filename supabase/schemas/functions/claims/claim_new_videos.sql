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
    'Uploaded videos whose layout nobody asked for yet, the tenants in turn, each one''s oldest first; also those '
    'asked for longer than p_restart_after_seconds ago that no run began, until p_max_unstarted times. Of a tenant '
    'only as many as p_tenant_limit wait for their runs at a time. A video beyond its tenant''s quota ends in '
    'error QuotaExceededError with a rejection on record; a retry asks again.';
