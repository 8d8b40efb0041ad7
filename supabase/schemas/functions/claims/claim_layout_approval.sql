create or replace function captionacc.claim_layout_approval(
    p_video_id uuid, p_restart_after_seconds double precision default 3600
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(1, p_restart_after_seconds, 1);
    return query
        with picked as materialized (
            select id from videos
            where id = p_video_id and boundaries_status = 'wait' and boundaries_run_id is null
                and layout_status = 'done' and deleted_at is null
                and (boundaries_requested_at is null
                    or boundaries_requested_at < clock_timestamp() - make_interval(secs => p_restart_after_seconds))
            for update skip locked
        )
        update videos v
        set boundaries_requested_at = clock_timestamp(),
            boundaries_attempts = v.boundaries_attempts + (v.boundaries_unstarted_requests = 0)::integer,
            boundaries_unstarted_requests = v.boundaries_unstarted_requests + 1
        from picked where v.id = picked.id
        returning v.*;
end
$$;
comment on function captionacc.claim_layout_approval(uuid, double precision) is
    'Claim the approved layout of one video, as pending_layout_approvals does. No row if it cannot be '
    'claimed.';
