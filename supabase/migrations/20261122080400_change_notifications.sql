-- Telling who listens that there is work. Only a hint: sensors find the work by themselves.

create function captionacc._notify_work() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if new.deleted_at is null and new.layout_status = 'wait' and new.layout_run_id is null
        and new.uploaded_at is not null and new.layout_requested_at is null
    then
        perform pg_notify('captionacc_work', json_build_object('stage', 'layout', 'video_id', new.id)::text);
    elsif new.deleted_at is null and new.layout_status = 'done' and new.boundaries_status = 'wait'
        and new.boundaries_run_id is null and new.boundaries_requested_at is null
    then
        perform pg_notify('captionacc_work', json_build_object('stage', 'boundaries', 'video_id', new.id)::text);
    end if;
    return null;
end
$$;
create trigger videos_notify_inserted after insert on captionacc.videos
    for each row execute function captionacc._notify_work();
create trigger videos_notify_updated after update on captionacc.videos for each row
    when (
        (old.uploaded_at is null and new.uploaded_at is not null)
        or (old.layout_status = 'error' and new.layout_status = 'wait')
        or (old.boundaries_status = 'error' and new.boundaries_status = 'wait')
        or old.crop_region_version <> new.crop_region_version
    )
    execute function captionacc._notify_work();

do $$
begin
    -- Supabase Realtime tells of the tables in its publication.
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime add table captionacc.videos;
    end if;
end
$$;

create function captionacc.claim_layout_approval(
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
    'The claim of pending_layout_approvals for one video; no row when there is nothing to claim.';

create function captionacc.return_layout_approval(p_video_id uuid, p_attempt integer) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update videos set boundaries_requested_at = '1970-01-01Z'
    where id = p_video_id and boundaries_attempts = p_attempt and boundaries_status = 'wait'
        and boundaries_run_id is null and boundaries_requested_at is not null;
    return found;
end
$$;
comment on function captionacc.return_layout_approval(uuid, integer) is
    'No run was made of the claim: the next one may have it at once, as the same attempt.';

revoke execute on all functions in schema captionacc from public;
