-- Claims that take turns: a tenant that has a thousand videos waiting is handed out beside the others,
-- not before them, and only so many of its requests at a time wait for their runs.

do $$
declare
    stage record;
begin
    for stage in
        select * from (values
            ('layout', 'uploaded_at', 'uploaded_at is not null'),
            ('boundaries', 'layout_approved_at', 'layout_status = ''done'''),
            ('text', 'boundaries_finished_at', 'boundaries_status in (''annotate'', ''done'')')
        ) s (name, age, ready)
    loop
        execute format(
            $sql$
            create index videos_%1$s_new on captionacc.videos (tenant_id, %2$s, id)
                where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null and %3$s
                    and %1$s_requested_at is null
            $sql$, stage.name, stage.age, stage.ready);
        execute format(
            $sql$
            create index videos_%1$s_asked_for on captionacc.videos (tenant_id, %1$s_unstarted_requests)
                where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null and %3$s
                    and %1$s_requested_at is not null
            $sql$, stage.name, stage.age, stage.ready);
    end loop;
end
$$;

create function captionacc._claimable(
    p_stage text, p_limit integer, p_stale timestamptz, p_tenant_limit integer
) returns uuid[]
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    age text := case p_stage when 'layout' then 'uploaded_at' when 'boundaries' then 'layout_approved_at'
        else 'boundaries_finished_at' end;
    waiting text := format(
        '%1$s_status = ''wait'' and %1$s_run_id is null and deleted_at is null and %2$s', p_stage,
        case p_stage when 'layout' then 'uploaded_at is not null' when 'boundaries' then 'layout_status = ''done'''
            else 'boundaries_status in (''annotate'', ''done'')' end);
    share record;
    batch uuid[];
    picked uuid[] := '{}';
begin
    if p_tenant_limit is not null and p_tenant_limit < 1 then
        raise exception 'a limit of % for a tenant is not usable', p_tenant_limit using errcode = 'CA010';
    end if;
    for share in execute format(
        $sql$
        -- From tenant to tenant through the index, so that a long queue of one costs no more than a short one.
        with recursive tenants_waiting as (
            (select tenant_id from videos where %2$s and %1$s_requested_at is null order by tenant_id limit 1)
            union all
            select (
                select v.tenant_id from videos v
                where %2$s and %1$s_requested_at is null and v.tenant_id > t.tenant_id
                order by v.tenant_id limit 1
            )
            from tenants_waiting t where t.tenant_id is not null
        ), turns as (
            select t.tenant_id, asked.number + turn as turn, fresh.since
            from tenants_waiting t,
            lateral (
                -- One that was asked for over and over does not come to a run: it must not block the others.
                select count(*) as number from videos v
                where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is not null
                    and %1$s_unstarted_requests <= 4
            ) asked,
            lateral (
                select count(*) as number, min(since) as since from (
                    select %3$s as since from videos v
                    where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is null
                    order by %3$s, id limit $1
                ) oldest
            ) fresh,
            lateral generate_series(1, least(fresh.number, coalesce($2, 10000) - asked.number)) turn
            where t.tenant_id is not null
        )
        select tenant_id, count(*) as number
        from (select tenant_id from turns order by turn, since, tenant_id limit $1) next
        group by tenant_id
        $sql$, p_stage, waiting, age)
    using p_limit, p_tenant_limit
    loop
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where tenant_id = $1 and %2$s and %1$s_requested_at is null
                order by %3$s, id limit $2
                for update skip locked
            ) oldest
            $sql$, p_stage, waiting, age)
        into batch using share.tenant_id, share.number;
        picked := picked || batch;
    end loop;
    if cardinality(picked) < p_limit then
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where %2$s and %1$s_requested_at < $1
                order by %1$s_requested_at, %3$s, id limit $2
                for update skip locked
            ) unstarted
            $sql$, p_stage, waiting, age)
        into batch using p_stale, p_limit - cardinality(picked);
        picked := picked || batch;
    end if;
    return picked;
end
$$;
comment on function captionacc._claimable(text, integer, timestamptz, integer) is
    'Videos that wait for a run of a stage, locked: those that nobody asked for, the tenants in turn, each one''s '
    'oldest first, and no more of a tenant than p_tenant_limit that wait for their runs; then those asked for '
    'before p_stale that no run began.';

drop function captionacc.claim_new_videos(integer, double precision, integer);
create function captionacc.claim_new_videos(
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

drop function captionacc.pending_layout_approvals(integer, double precision, integer);
create function captionacc.pending_layout_approvals(
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
    'Approved layouts whose crop region no run was asked to process yet; handed out and asked for again like new '
    'videos.';

drop function captionacc.pending_text(integer, double precision, integer);
create function captionacc.pending_text(
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
    'Videos with captions whose text is to be read by a run of its own: after a retry, or when the run that found '
    'the captions did not go on to it in time.';

drop function captionacc.claim_caption_ocr_requests(integer, double precision, integer);
create function captionacc.claim_caption_ocr_requests(
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
        error_message = format('asked for %s times, and no run began', r.unstarted_requests)
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
    'Requests that no run was asked for yet; the tenants in turn, and asked for again like new videos.';

revoke execute on all functions in schema captionacc from public;
