create or replace function captionacc.return_claims(
    p_kind text,
    p_claims jsonb,
    p_restart_after_seconds double precision default 3600,
    p_again_after_seconds double precision default 0
) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- A time in the past lets the next claim take it; otherwise the claim expires after that many seconds.
    claimed_at timestamptz := case when p_again_after_seconds <= 0 then '1970-01-01Z'
        else clock_timestamp() - make_interval(secs => p_restart_after_seconds - p_again_after_seconds) end;
    returned integer;
begin
    if p_kind is null or p_kind not in ('layout', 'boundaries', 'text', 'request', 'backfill') then
        raise exception 'claims of kind % are not known', coalesce(p_kind, 'null') using errcode = 'CA010';
    elsif jsonb_typeof(p_claims) is distinct from 'object' or p_again_after_seconds is null
        or p_restart_after_seconds is null or not p_restart_after_seconds between 0 and 1e9
        or not p_again_after_seconds between 0 and p_restart_after_seconds
    then
        raise exception 'claims must be an object, and the time must be between 0 and the claim''s' using errcode = 'CA010';
    end if;
    -- The attempt stays, so that its run key finds a run that was created after all. The count of claims goes back by
    -- one, but not to zero, which would begin another attempt.
    if p_kind = 'request' then
        update caption_ocr_requests r
        set requested_at = claimed_at, unstarted_requests = greatest(r.unstarted_requests - 1, 1)
        from jsonb_each_text(p_claims) c
        where r.id = c.key::uuid and r.attempts = c.value::integer and r.status = 'queued'
            and r.requested_at is not null and r.unstarted_requests > 0;
    elsif p_kind = 'backfill' then
        update backfill_videos b
        set requested_at = claimed_at, unstarted_requests = greatest(b.unstarted_requests - 1, 1)
        from jsonb_each_text(p_claims) c, videos v
        where b.video_id = c.key::uuid and b.backfill_id = c.value::uuid and b.status = 'queued'
            and b.requested_at is not null and v.id = b.video_id
            and coalesce(v.boundaries_started_at < b.asked_for_at, true);
    else
        execute format(
            $sql$
            update videos v
            set %1$s_requested_at = $2, %1$s_unstarted_requests = greatest(v.%1$s_unstarted_requests - 1, 1)
            from jsonb_each_text($1) c
            where v.id = c.key::uuid and v.%1$s_attempts = c.value::integer and v.%1$s_status = 'wait'
                and v.%1$s_run_id is null and v.%1$s_requested_at is not null and v.%1$s_unstarted_requests > 0
            $sql$, p_kind)
        using p_claims, claimed_at;
    end if;
    get diagnostics returned = row_count;
    return returned;
end
$$;
comment on function captionacc.return_claims(text, jsonb, double precision, double precision) is
    'Return claims for which no run was created. They can be claimed again, at once or after '
    'p_again_after_seconds, as the same attempt. p_kind is a stage, request or backfill; p_claims maps '
    'the ids of videos (or requests) to attempts (or, for a backfill, to its id). Claims that a run has '
    'begun, that have ended or that belong to another attempt are ignored.';
