-- Quotas at claim time, rejections, requests of captions' text, cancelling, and the upkeep of versions.
-- Further SQLSTATEs:
--   CA011 not permitted       CA012 unknown request, rejection or run

-- ---------------------------------------------------------------------------------------------
-- Tiers, limits, people

create function captionacc._check_limits(
    p_storage_quota_bytes bigint, p_video_count_limit integer, p_processing_minutes_limit numeric,
    p_daily_upload_limit integer
) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if least(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit, p_daily_upload_limit) < 0 then
        raise exception 'a limit is negative' using errcode = 'CA010', hint = 'Null is no limit.';
    end if;
end
$$;

create function captionacc.set_tier_limits(
    p_tier text,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update access_tiers set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_limits(text, bigint, integer, numeric, integer) is
    'What tenants of a tier may use; null: no limit. For videos claimed from now on.';

create function captionacc.set_tenant_limits(
    p_tenant_id uuid,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null,
    p_quota_exempt boolean default false
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update tenants set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit,
        quota_exempt = coalesce(p_quota_exempt, false)
    where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_limits(uuid, bigint, integer, numeric, integer, boolean) is
    'A tenant''s own limits; null: its tier''s. With p_quota_exempt none applies.';

create function captionacc.set_tenant_tier(p_tenant_id uuid, p_tier text) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    update tenants set tier = p_tier where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_tier(uuid, text) is 'The tier belongs to the tenant, not to a user.';

create function captionacc._audit(
    p_action text, p_outcome text, p_reason text, p_video_id uuid, p_details jsonb default '{}'
) returns void
language sql
set search_path = captionacc, pg_temp
as $$
    insert into security_audit_log
        (user_id, role, tenant_id, action, outcome, reason, video_id, target_tenant_id, details)
    values (
        auth.uid(),
        coalesce(nullif(current_setting('role', true), 'none'), session_user::text),
        (select tenant_id from user_profiles where user_id = auth.uid()),
        p_action, p_outcome, p_reason, p_video_id,
        (select tenant_id from videos where id = p_video_id),
        p_details
    )
$$;

create function captionacc.set_user_profile(
    p_user_id uuid,
    p_tenant_id uuid,
    p_role text default 'member',
    p_approval_status text default 'pending',
    p_is_platform_admin boolean default false,
    p_display_name text default ''
) returns captionacc.user_profiles
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result user_profiles;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_role is null or p_role not in ('member', 'owner') then
        raise exception 'role % is not member or owner', coalesce(p_role, 'null') using errcode = 'CA010';
    end if;
    if p_approval_status is null or p_approval_status not in ('pending', 'approved', 'rejected') then
        raise exception 'approval % is not pending, approved or rejected', coalesce(p_approval_status, 'null')
            using errcode = 'CA010';
    end if;
    insert into user_profiles (user_id, tenant_id, role, approval_status, is_platform_admin, display_name)
    values (p_user_id, p_tenant_id, p_role, p_approval_status, coalesce(p_is_platform_admin, false),
        coalesce(p_display_name, ''))
    on conflict (user_id) do update set
        tenant_id = excluded.tenant_id, role = excluded.role, approval_status = excluded.approval_status,
        is_platform_admin = excluded.is_platform_admin, display_name = excluded.display_name
    returning * into result;
    perform _audit('set_user_profile', 'allowed', '', null, to_jsonb(result) - 'created_at' - 'updated_at');
    return result;
end
$$;
comment on function captionacc.set_user_profile(uuid, uuid, text, text, boolean, text) is
    'Create or change a user''s place in a tenant; audited.';

create function captionacc.set_demo(p_video_id uuid, p_is_demo boolean) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    perform _locked_video(p_video_id);
    update videos set is_demo = coalesce(p_is_demo, false) where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.set_demo(uuid, boolean) is 'Whether everybody may look at a video.';

-- ---------------------------------------------------------------------------------------------
-- Rejections

create function captionacc.record_rejection(
    p_tenant_id uuid,
    p_rejection_type text,
    p_message text,
    p_video_id uuid default null,
    p_cropped_frames_version integer default null,
    p_model_version text default null,
    p_run_id text default null,
    p_frame_count bigint default null,
    p_estimated_cost_usd numeric default null
) returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_message, 'the rejection''s message');
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into caption_frame_extents_inference_rejections (
        tenant_id, video_id, rejection_type, message, cropped_frames_version, model_version, run_id, frame_count,
        estimated_cost_usd
    ) values (
        p_tenant_id, p_video_id, p_rejection_type, left(p_message, 4000), p_cropped_frames_version,
        p_model_version, p_run_id, p_frame_count, p_estimated_cost_usd
    )
    returning * into result;
    return result;
end
$$;
comment on function captionacc.record_rejection(uuid, text, text, uuid, integer, text, text, bigint, numeric) is
    'Tell a tenant that work was not done, and why.';

create function captionacc.acknowledge_rejection(p_rejection_id uuid, p_acknowledged_by text)
returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_acknowledged_by, 'who acknowledges');
    update caption_frame_extents_inference_rejections set
        acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
        acknowledged_by = coalesce(acknowledged_by, p_acknowledged_by)
    where id = p_rejection_id returning * into result;
    if result.id is null then
        raise exception 'rejection % is not in the catalogue', p_rejection_id using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.acknowledge_rejection(uuid, text) is
    'The user has taken note; the first one to do so stays on record.';

-- ---------------------------------------------------------------------------------------------
-- Claims within quotas

create function captionacc.tenant_limits(p_tenant_id uuid)
returns table (
    storage_quota_bytes bigint, video_count_limit integer, processing_minutes_limit numeric,
    daily_upload_limit integer
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(t.storage_quota_bytes, a.storage_quota_bytes), coalesce(t.video_count_limit, a.video_count_limit),
        coalesce(t.processing_minutes_limit, a.processing_minutes_limit),
        coalesce(t.daily_upload_limit, a.daily_upload_limit)
    from tenants t join access_tiers a on a.id = t.tier
    where t.id = p_tenant_id and not t.quota_exempt
$$;
comment on function captionacc.tenant_limits(uuid) is 'What applies to a tenant; null, or no row: no limit.';

create function captionacc._quota_refusal(p_video captionacc.videos, p_more_videos integer, p_more_bytes bigint)
returns table (rejection_type text, message text)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    limits record;
    used record;
    today timestamptz := date_trunc('day', clock_timestamp() at time zone 'utc') at time zone 'utc';
    this_month timestamptz := date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc';
    amount numeric;
begin
    select * into limits from tenant_limits(p_video.tenant_id);
    select t.accepted_video_count + p_more_videos as accepted_video_count,
        t.accepted_bytes + p_more_bytes as accepted_bytes
    into used from tenants t where t.id = p_video.tenant_id;
    if used.accepted_video_count >= limits.video_count_limit then
        return query select 'video_count_exceeded', format(
            'There are %s videos and %s are allowed: delete one, or change to a larger plan.',
            used.accepted_video_count, limits.video_count_limit);
        return;
    end if;
    if used.accepted_bytes + p_video.size_bytes > limits.storage_quota_bytes then
        return query select 'storage_quota_exceeded', format(
            'This video of %s would go beyond the %s that are allowed, of which %s are in use: delete videos, or '
            'change to a larger plan.', pg_size_pretty(p_video.size_bytes),
            pg_size_pretty(limits.storage_quota_bytes), pg_size_pretty(used.accepted_bytes));
        return;
    end if;
    if limits.daily_upload_limit is not null then
        select count(*) into amount from (
            select from videos v where v.tenant_id = p_video.tenant_id and v.accepted_at >= today
            limit limits.daily_upload_limit
        ) accepted;
        amount := amount + p_more_videos;
        if amount >= limits.daily_upload_limit then
            return query select 'daily_uploads_exceeded', format(
                'More than %s videos came in today (UTC): ask for this one again tomorrow.',
                limits.daily_upload_limit);
            return;
        end if;
    end if;
    if limits.processing_minutes_limit is not null then
        select coalesce(sum(metric_value), 0) into amount from usage_metrics
        where tenant_id = p_video.tenant_id and metric_type = 'processing_minutes' and recorded_at >= this_month;
        if amount >= limits.processing_minutes_limit then
            return query select 'processing_minutes_exceeded', format(
                'The %s minutes of processing of this month (UTC) are used up: ask again next month, or change '
                'to a larger plan.', limits.processing_minutes_limit);
        end if;
    end if;
end
$$;
comment on function captionacc._quota_refusal(captionacc.videos, integer, bigint) is
    'Why a video may not be accepted now, beside some that are about to be; no row when it may. The tenant''s row '
    'must be locked.';

create function captionacc._accept_layouts(p_video_ids uuid[]) returns setof captionacc.videos
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
    -- In one order, so that two claims never wait for each other: their counters change below.
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
                -- Asked for again because no run began it is the same attempt, so that whoever did get the
                -- first request can tell the second from new work.
                layout_attempts = v.layout_attempts + (v.layout_unstarted_requests = 0)::integer,
                layout_unstarted_requests = v.layout_unstarted_requests + 1
            where v.id = any (accepted)
            returning v.*
        )
        select * from claimed order by uploaded_at, id;
end
$$;
comment on function captionacc._accept_layouts(uuid[]) is
    'Claim videos that the caller has locked; those beyond their tenant''s quota end in an error instead.';

create or replace function captionacc._give_up_unstarted(
    p_stage text, p_limit integer, p_before timestamptz, p_max_unstarted integer
) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    execute format(
        $sql$
        with given_up as materialized (
            select id from videos
            -- The stage's index of what waits holds these; without its last condition it would not be used.
            where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null and %2$s
                and %1$s_requested_at < $1 and %1$s_unstarted_requests >= $2
            order by %1$s_requested_at limit $3
            for update skip locked
        )
        update videos v
        set %1$s_status = 'error',
            %1$s_error_details = _error_details(
                format('asked for %%s times, and no run began: look at the orchestrator''s queue and daemon',
                    v.%1$s_unstarted_requests),
                'NotStartedError', null, v.%1$s_attempts)
        from given_up where v.id = given_up.id
        $sql$,
        p_stage,
        case p_stage
            when 'layout' then 'uploaded_at is not null'
            when 'boundaries' then 'layout_status = ''done'''
            when 'text' then 'boundaries_status in (''annotate'', ''done'')'
        end)
    using p_before, p_max_unstarted, p_limit;
end
$$;

create or replace function captionacc.claim_new_videos(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
    picked uuid[];
    older uuid[];
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('layout', p_limit, stale, p_max_unstarted);
    -- Two ranges of one index: what was claimed lately and waits for its run is never looked at.
    select coalesce(array_agg(id), '{}') into picked from (
        select id from videos
        where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null
            and deleted_at is null and layout_requested_at is null
        order by uploaded_at, id
        limit p_limit
        for update skip locked
    ) fresh;
    if cardinality(picked) < p_limit then
        select coalesce(array_agg(id), '{}') into older from (
            select id from videos
            where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null
                and deleted_at is null and layout_requested_at < stale
            order by layout_requested_at, uploaded_at, id
            limit p_limit - cardinality(picked)
            for update skip locked
        ) unstarted;
        picked := picked || older;
    end if;
    return query select * from _accept_layouts(picked);
end
$$;
comment on function captionacc.claim_new_videos(integer, double precision, integer) is
    'Uploaded videos whose layout nobody asked for yet, oldest first; also those asked for longer than '
    'p_restart_after_seconds ago that no run began, until p_max_unstarted times. A video beyond its tenant''s '
    'quota ends in error QuotaExceededError with a rejection on record; a retry asks again.';

create function captionacc.claim_new_video(p_video_id uuid, p_restart_after_seconds double precision default 3600)
returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    picked uuid;
begin
    perform _check_claim(1, p_restart_after_seconds, 1);
    select id into picked from videos
    where id = p_video_id and layout_status = 'wait' and layout_run_id is null and uploaded_at is not null
        and deleted_at is null
        and (layout_requested_at is null
            or layout_requested_at < clock_timestamp() - make_interval(secs => p_restart_after_seconds))
    for update skip locked;
    if picked is not null then
        return query select * from _accept_layouts(array[picked]);
    end if;
end
$$;
comment on function captionacc.claim_new_video(uuid, double precision) is
    'The same claim for one video; no row when it is not to be claimed, now or at all.';

create function captionacc.return_claim(p_video_id uuid, p_attempt integer) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- Still the same attempt, so that its run key finds a run that was launched after all.
    update videos set layout_requested_at = '1970-01-01Z'
    where id = p_video_id and layout_attempts = p_attempt and layout_status = 'wait' and layout_run_id is null
        and layout_requested_at is not null;
    return found;
end
$$;
comment on function captionacc.return_claim(uuid, integer) is
    'No run was made of a claim: the next one may have it at once, as the same attempt.';

-- ---------------------------------------------------------------------------------------------
-- Cancelling

create or replace function captionacc.begin_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_take_over boolean default true
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    owner text;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    video := _locked_video(p_video_id);
    if p_stage = 'layout' and video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_stage = 'boundaries' and (video.layout_status <> 'done' or video.crop_region is null) then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    elsif p_stage = 'text' and video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if owner = p_run_id then
        return video;
    end if;
    if exists (select from run_cancellations where run_id = p_run_id) then
        raise exception 'run % was cancelled', p_run_id using errcode = 'CA002';
    end if;
    -- A run that waited in its queue when the work was cancelled must not begin it after all.
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        raise exception 'the % stage of video % was cancelled', p_stage, p_video_id
            using errcode = 'CA002', hint = 'Retry it first.';
    end if;
    if owner is not null and not p_take_over then
        raise exception 'run % works on the % stage of video %', owner, p_stage, p_video_id using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_run_id = $2, %1$s_last_run_id = $2, %1$s_started_at = clock_timestamp(),
            %1$s_requested_at = coalesce(%1$s_requested_at, clock_timestamp()), %1$s_unstarted_requests = 0,
            %1$s_status = case %1$s_status when 'error' then 'wait' else %1$s_status end,
            %1$s_error_details = null
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id;
    return result;
end
$$;

create function captionacc.cancel_stage(p_video_id uuid, p_stage text, p_cancelled_by text)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    owner text;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_cancelled_by, 'who cancels');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        return video;
    end if;
    if owner is null and (
        state ->> (p_stage || '_status') <> 'wait'
        or (p_stage = 'boundaries' and video.layout_status <> 'done')
        or (p_stage = 'text' and video.boundaries_status not in ('annotate', 'done'))
    ) then
        raise exception 'nothing works on, or waits for, the % stage of video % (it is in state %)', p_stage,
            p_video_id, state ->> (p_stage || '_status') using errcode = 'CA002';
    end if;
    if owner is not null then
        insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
        values (owner, video.tenant_id, p_video_id, p_stage, p_cancelled_by)
        on conflict (run_id) do nothing;
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details('cancelled by ' || $3, 'CancelledError', $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, owner, p_cancelled_by;
    if p_stage = 'text' then
        update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
        where video_id = p_video_id and status in ('queued', 'processing');
    end if;
    return result;
end
$$;
comment on function captionacc.cancel_stage(uuid, text, text) is
    'Stop what works on, or waits for, a stage: it ends in error CancelledError until it is retried, what its run '
    'writes is refused, and the run is listed by pending_run_cancellations. CA002 when there is nothing to stop.';

create function captionacc.pending_run_cancellations(p_limit integer default 50)
returns setof captionacc.run_cancellations
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, 0, 1);
    return query select * from run_cancellations where handled_at is null order by requested_at limit p_limit;
end
$$;
comment on function captionacc.pending_run_cancellations(integer) is 'Runs that are to be ended, oldest first.';

create function captionacc.finish_run_cancellation(p_run_id text) returns captionacc.run_cancellations
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result run_cancellations;
begin
    update run_cancellations set handled_at = coalesce(handled_at, clock_timestamp())
    where run_id = p_run_id returning * into result;
    if result.run_id is null then
        raise exception 'run % was not cancelled', coalesce(p_run_id, 'null') using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.finish_run_cancellation(text) is 'The run has ended, or was not there.';

-- ---------------------------------------------------------------------------------------------
-- Text of single captions

create function captionacc.request_caption_ocr(
    p_video_id uuid, p_caption_ids bigint[] default null, p_requested_by text default 'service'
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    wanted bigint[];
    result caption_ocr_requests;
begin
    perform _check_text(p_requested_by, 'who asks');
    if video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    if p_caption_ids is not null then
        select array_agg(distinct id order by id) into wanted from unnest(p_caption_ids) id;
        if wanted is null or cardinality(p_caption_ids) > 10000
            or exists (select from unnest(p_caption_ids) id where id is null or id < 1)
        then
            raise exception 'caption ids % are not usable', left(p_caption_ids::text, 100)
                using errcode = 'CA010', hint = 'Give 1 to 10000 ids of captions, or null for all of them.';
        end if;
    end if;
    -- A second click asks for nothing new.
    select * into result from caption_ocr_requests
    where video_id = p_video_id and status = 'queued' and caption_ids is not distinct from wanted
        and cropped_frames_version = video.current_cropped_frames_version;
    if result.id is not null then
        return result;
    end if;
    insert into caption_ocr_requests (tenant_id, video_id, cropped_frames_version, caption_ids, requested_by)
    values (video.tenant_id, p_video_id, video.current_cropped_frames_version, wanted, p_requested_by)
    returning * into result;
    return result;
end
$$;
comment on function captionacc.request_caption_ocr(uuid, bigint[], text) is
    'Have the text of some captions, or of all (null), read anew. CA002 before there are captions.';

create function captionacc.claim_caption_ocr_requests(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5
) returns setof captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    update caption_ocr_requests r set status = 'failed', finished_at = clock_timestamp(),
        error_message = format('asked for %s times, and no run began', r.unstarted_requests)
    where r.status = 'queued' and r.requested_at < stale and r.unstarted_requests >= p_max_unstarted;
    return query
        with picked as materialized (
            select id from caption_ocr_requests
            where status = 'queued' and (requested_at is null or requested_at < stale)
            order by requested_at nulls first, created_at, id
            limit p_limit
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
comment on function captionacc.claim_caption_ocr_requests(integer, double precision, integer) is
    'Requests that no run was asked for yet; asked for again like new videos.';

create function captionacc._locked_ocr_request(p_request_id uuid) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found caption_ocr_requests;
begin
    select * into found from caption_ocr_requests where id = p_request_id for update;
    if found.id is null then
        raise exception 'caption OCR request % is not in the catalogue', p_request_id using errcode = 'CA012';
    end if;
    return found;
end
$$;

create function captionacc.begin_caption_ocr_request(p_request_id uuid, p_run_id text)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    perform _check_text(p_run_id, 'the run id');
    if request.status = 'processing' and request.run_id = p_run_id then
        return request;
    end if;
    -- Another run takes over from one that died.
    if request.status not in ('queued', 'processing') then
        raise exception 'caption OCR request % is %', p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = 'processing', run_id = p_run_id, started_at = clock_timestamp(),
        unstarted_requests = 0
    where id = p_request_id returning * into result;
    return result;
end
$$;
comment on function captionacc.begin_caption_ocr_request(uuid, text) is
    'Make a run the worker of a request; another one is displaced. CA002 for one that has ended.';

create function captionacc._end_caption_ocr_request(
    p_request_id uuid, p_run_id text, p_status text, p_count integer, p_message text
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    if request.status = p_status and request.run_id = p_run_id then
        return request;
    end if;
    if request.status <> 'processing' or request.run_id is distinct from p_run_id then
        raise exception 'run % does not work on caption OCR request %, which is %', coalesce(p_run_id, 'null'),
            p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = p_status, finished_at = clock_timestamp(), caption_count = p_count,
        error_message = p_message
    where id = p_request_id returning * into result;
    return result;
end
$$;

create function captionacc.finish_caption_ocr_request(p_request_id uuid, p_run_id text, p_caption_count integer)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    return _end_caption_ocr_request(p_request_id, p_run_id, 'completed', p_caption_count, null);
end
$$;
comment on function captionacc.finish_caption_ocr_request(uuid, text, integer) is
    'The captions'' text is published. CA002 for a run that is not the worker.';

create function captionacc.fail_caption_ocr_request(p_request_id uuid, p_run_id text, p_message text)
returns captionacc.caption_ocr_requests
language sql
set search_path = captionacc, pg_temp
as $$
    select * from _end_caption_ocr_request(p_request_id, p_run_id, 'failed', null,
        left(coalesce(nullif(p_message, ''), 'no message'), 4000))
$$;
comment on function captionacc.fail_caption_ocr_request(uuid, text, text) is
    'The last attempt failed. CA002 for a run that is not the worker.';

create function captionacc._cancel_outdated_ocr_requests() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- Their ids are those of captions that are being made anew, or of a deleted video.
    update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
    where video_id = new.id and status in ('queued', 'processing');
    return null;
end
$$;
create trigger videos_cancel_outdated_ocr_requests after update on captionacc.videos for each row
    when (old.crop_region_version <> new.crop_region_version
        or (old.deleted_at is null and new.deleted_at is not null))
    execute function captionacc._cancel_outdated_ocr_requests();

-- ---------------------------------------------------------------------------------------------
-- Cropped-frames versions

create function captionacc.archive_cropped_frames_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'archived' then
        return found;
    end if;
    if found.status <> 'active' then
        raise exception 'cropped-frames version % of video % is %, so it cannot be archived', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    if video.boundaries_status in ('annotate', 'done') then
        raise exception 'cropped-frames version % of video % is the one its captions were made from', p_version,
            p_video_id using errcode = 'CA002', hint = 'Activate another one, which archives it.';
    end if;
    update videos set current_cropped_frames_version = null where id = p_video_id;
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.archive_cropped_frames_version(uuid, integer) is
    'Take the active version out of use; activating another one does so too. CA002 while captions rest on it.';

create function captionacc.removable_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select * from cropped_frames_versions
        where status in ('failed', 'archived') and objects_removed_at is null
            and coalesce(archived_at, failed_at) < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by video_id, version limit p_limit;
end
$$;
comment on function captionacc.removable_cropped_frames_versions(integer, double precision) is
    'Failed and archived versions whose objects are still in the bucket, ended longer ago than that.';

create function captionacc.mark_objects_removed(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status not in ('failed', 'archived') then
        raise exception 'cropped-frames version % of video % is %: its objects are needed', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_objects_removed(uuid, integer) is
    'The version''s objects are gone from the bucket.';

revoke execute on all functions in schema captionacc from public;
