-- Every change of state is one of these functions: it locks the video's row, checks the state it
-- leaves, and changes it in the caller's transaction. Refusals have an SQLSTATE of their own:
--   CA001 unknown video       CA002 wrong state          CA003 invalid crop region
--   CA004 lock held           CA005 lock lost            CA006 unknown tenant
--   CA007 video deleted       CA008 already registered   CA009 unknown cropped-frames version
--   CA010 invalid argument
-- Functions that begin with an underscore are for the others only.

-- ---------------------------------------------------------------------------------------------
-- Building blocks

create function captionacc._locked_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found captionacc.videos;
begin
    select * into found from videos where id = p_video_id for update;
    if found.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    if found.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, found.deleted_at using errcode = 'CA007';
    end if;
    return found;
end
$$;
comment on function captionacc._locked_video(uuid) is 'The row, locked until the transaction ends. CA001, CA007.';

create function captionacc._check_stage(p_stage text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_stage is null or p_stage not in ('layout', 'boundaries', 'text') then
        raise exception 'stage % is not layout, boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010';
    end if;
end
$$;

create function captionacc._check_text(p_value text, p_name text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if coalesce(p_value, '') = '' then
        raise exception '% is empty', p_name using errcode = 'CA010';
    end if;
end
$$;

create function captionacc._check_crop_region(p_crop_region jsonb) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_crop_region(p_crop_region) then
        raise exception 'crop region % is not usable', coalesce(p_crop_region::text, 'null')
            using errcode = 'CA003',
                hint = 'Give crop_left < crop_right and crop_top < crop_bottom, all in [0, 1].';
    end if;
end
$$;

create function captionacc._check_owner(p_video captionacc.videos, p_stage text, p_run_id text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    owner text := to_jsonb(p_video) ->> (p_stage || '_run_id');
begin
    if owner is distinct from p_run_id or p_run_id is null then
        raise exception 'run % does not work on the % stage of video %: %', coalesce(p_run_id, 'null'), p_stage,
            p_video.id, case when owner is null then 'no run does' else 'run ' || owner || ' does' end
            using errcode = 'CA002';
    end if;
end
$$;
comment on function captionacc._check_owner(captionacc.videos, text, text) is
    'A run that was displaced or has ended may not write results. CA002.';

create function captionacc._error_details(p_message text, p_error_type text, p_run_id text, p_attempt integer)
returns jsonb
language sql stable
set search_path = captionacc, pg_temp
as $$
    select jsonb_build_object(
        'message', left(coalesce(nullif(p_message, ''), 'no message'), 4000),
        'error_type', coalesce(p_error_type, ''),
        'run_id', p_run_id,
        'attempt', p_attempt,
        'failed_at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )
$$;

-- ---------------------------------------------------------------------------------------------
-- Tenants

create function captionacc.ensure_tenant(
    p_tenant_id uuid,
    p_name text,
    p_tier text default 'free',
    p_auto_approve_layout_confidence double precision default null
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_text(p_name, 'the tenant''s name');
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    if p_auto_approve_layout_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_auto_approve_layout_confidence using errcode = 'CA010';
    end if;
    insert into tenants (id, name, tier, auto_approve_layout_confidence)
    values (p_tenant_id, p_name, p_tier, p_auto_approve_layout_confidence)
    on conflict (id) do nothing;
    select * into strict result from tenants where id = p_tenant_id;
    return result;
end
$$;
comment on function captionacc.ensure_tenant(uuid, text, text, double precision) is
    'Create a tenant that is missing; one that exists keeps its settings.';

create function captionacc.set_auto_approve(p_tenant_id uuid, p_confidence double precision)
returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if p_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_confidence using errcode = 'CA010';
    end if;
    update tenants set auto_approve_layout_confidence = p_confidence where id = p_tenant_id
    returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_auto_approve(uuid, double precision) is
    'From which layout confidence no person is asked; null: always ask. For layouts found from now on.';

-- ---------------------------------------------------------------------------------------------
-- Videos

create function captionacc.register_video(
    p_tenant_id uuid,
    p_video_id uuid,
    p_storage_key text,
    p_size_bytes bigint,
    p_display_path text,
    p_uploaded boolean default true,
    p_uploaded_by_user_id uuid default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    perform _check_text(p_display_path, 'the display path');
    if p_size_bytes is null or p_size_bytes < 0 then
        raise exception 'size % is not a number of bytes', p_size_bytes using errcode = 'CA010';
    end if;
    if p_storage_key is null or not starts_with(p_storage_key, p_tenant_id::text || '/')
        or p_storage_key ~ '(^|/)\.{0,2}(/|$)'
    then
        raise exception 'storage key % is not inside the tenant''s prefix %/', p_storage_key, p_tenant_id
            using errcode = 'CA010';
    end if;
    insert into videos (id, tenant_id, display_path, storage_key, size_bytes, uploaded_by_user_id, uploaded_at)
    values (p_video_id, p_tenant_id, p_display_path, p_storage_key, p_size_bytes, p_uploaded_by_user_id,
        case when p_uploaded then clock_timestamp() end)
    on conflict do nothing
    returning * into result;
    if result.id is not null then
        return result;
    end if;

    -- The same upload told again: nothing changes but that its object may be whole now.
    select * into result from videos where id = p_video_id for update;
    if result.id is null or result.tenant_id <> p_tenant_id or result.storage_key <> p_storage_key then
        raise exception 'video % or its storage key % is registered with other facts', p_video_id, p_storage_key
            using errcode = 'CA008';
    end if;
    result := _locked_video(p_video_id);
    if p_uploaded and result.uploaded_at is null then
        update videos set uploaded_at = clock_timestamp(), size_bytes = p_size_bytes where id = p_video_id
        returning * into result;
    end if;
    return result;
end
$$;
comment on function captionacc.register_video(uuid, uuid, text, bigint, text, boolean, uuid) is
    'Tell the catalogue of an upload; repeating it is harmless. Not yet uploaded videos are not claimed.';

create function captionacc.soft_delete_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    update videos
    set deleted_at = coalesce(deleted_at, clock_timestamp()),
        layout_run_id = null, boundaries_run_id = null, text_run_id = null
    where id = p_video_id
    returning * into result;
    if result.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    return result;
end
$$;
comment on function captionacc.soft_delete_video(uuid) is
    'Take a video out of all processing; a run that works on it is refused when it finishes.';

-- ---------------------------------------------------------------------------------------------
-- Asking for work: each hands a row to one caller only, and again when nobody began it in time

create function captionacc._give_up_unstarted(
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
            where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null
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
        $sql$, p_stage)
    using p_before, p_max_unstarted, p_limit;
end
$$;

create function captionacc._check_claim(p_limit integer, p_restart_after_seconds double precision, p_max integer)
returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception 'limit % is not in [1, 10000]', p_limit using errcode = 'CA010';
    end if;
    if p_restart_after_seconds is null or not p_restart_after_seconds >= 0 or p_max is null or p_max < 1 then
        raise exception 'restart after % s at most % times is not usable', p_restart_after_seconds, p_max
            using errcode = 'CA010';
    end if;
end
$$;

create function captionacc.claim_new_videos(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('layout', p_limit, stale, p_max_unstarted);
    return query
        with picked as materialized (
            select id from videos
            where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null
                and deleted_at is null and (layout_requested_at is null or layout_requested_at < stale)
            order by layout_requested_at nulls first, uploaded_at, id
            limit p_limit
            for update skip locked
        ), claimed as (
            update videos v
            set layout_requested_at = clock_timestamp(),
                -- Asked for again because no run began it is the same attempt, so that whoever did get the
                -- first request can tell the second from new work.
                layout_attempts = v.layout_attempts + (v.layout_unstarted_requests = 0)::integer,
                layout_unstarted_requests = v.layout_unstarted_requests + 1
            from picked where v.id = picked.id
            returning v.*
        )
        select * from claimed order by uploaded_at, id;
end
$$;
comment on function captionacc.claim_new_videos(integer, double precision, integer) is
    'Uploaded videos whose layout nobody asked for yet, oldest first; also those asked for longer than '
    'p_restart_after_seconds ago that no run began, until p_max_unstarted times.';

create function captionacc.pending_layout_approvals(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('boundaries', p_limit, stale, p_max_unstarted);
    return query
        with picked as materialized (
            select id from videos
            where boundaries_status = 'wait' and boundaries_run_id is null and layout_status = 'done'
                and deleted_at is null and (boundaries_requested_at is null or boundaries_requested_at < stale)
            order by boundaries_requested_at nulls first, layout_approved_at, id
            limit p_limit
            for update skip locked
        ), claimed as (
            update videos v
            set boundaries_requested_at = clock_timestamp(),
                boundaries_attempts = v.boundaries_attempts + (v.boundaries_unstarted_requests = 0)::integer,
                boundaries_unstarted_requests = v.boundaries_unstarted_requests + 1
            from picked where v.id = picked.id
            returning v.*
        )
        select * from claimed order by layout_approved_at, id;
end
$$;
comment on function captionacc.pending_layout_approvals(integer, double precision, integer) is
    'Approved layouts whose crop region no run was asked to process yet; asked for again like new videos.';

create function captionacc.pending_text(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('text', p_limit, stale, p_max_unstarted);
    return query
        with picked as materialized (
            select id from videos
            where text_status = 'wait' and text_run_id is null and boundaries_status in ('annotate', 'done')
                and deleted_at is null and (text_requested_at is null or text_requested_at < stale)
            order by text_requested_at nulls first, boundaries_finished_at, id
            limit p_limit
            for update skip locked
        ), claimed as (
            update videos v
            set text_requested_at = clock_timestamp(),
                text_attempts = v.text_attempts + (v.text_unstarted_requests = 0)::integer,
                text_unstarted_requests = v.text_unstarted_requests + 1
            from picked where v.id = picked.id
            returning v.*
        )
        select * from claimed order by boundaries_finished_at, id;
end
$$;
comment on function captionacc.pending_text(integer, double precision, integer) is
    'Videos with captions whose text is to be read by a run of its own: after a retry, or when the run that '
    'found the captions did not go on to it in time.';

-- ---------------------------------------------------------------------------------------------
-- Working on a stage

create function captionacc.begin_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_take_over boolean default true
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
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
    owner := to_jsonb(video) ->> (p_stage || '_run_id');
    if owner = p_run_id then
        return video;
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
comment on function captionacc.begin_stage(uuid, text, text, boolean) is
    'Make a run the worker of a stage; telling it twice is harmless. Another run is displaced (and refused '
    'when it finishes) unless p_take_over is false. CA002 when what the stage needs is not there.';

create function captionacc.fail_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_message text, p_error_type text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'error'
        and state -> (p_stage || '_error_details') ->> 'run_id' = p_run_id
    then
        return video;
    end if;
    -- A run that died before it began is believed; one that ended or was displaced is not.
    if not (
        state ->> (p_stage || '_run_id') is null
        and state ->> (p_stage || '_status') = 'wait'
        and state ->> (p_stage || '_last_run_id') is distinct from p_run_id
    ) then
        perform _check_owner(video, p_stage, p_run_id);
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_last_run_id = $2, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details($3, $4, $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id, p_message, p_error_type;
    return result;
end
$$;
comment on function captionacc.fail_stage(uuid, text, text, text, text) is
    'The last attempt of a run failed. Telling it twice is harmless; CA002 for a run that is not the worker.';

create function captionacc.release_stage(p_video_id uuid, p_stage text, p_run_id text)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    perform _check_owner(video, p_stage, p_run_id);
    execute format('update videos set %1$s_run_id = null where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.release_stage(uuid, text, text) is
    'The run made only a part of what a stage gives, and nothing of its state changes. CA002 for a run that is '
    'not the worker.';

create function captionacc.retry_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    status text;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    status := to_jsonb(video) ->> (p_stage || '_status');
    if status <> 'error' then
        raise exception 'the % stage of video % is in state %, not error', p_stage, p_video_id, status
            using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'wait', %1$s_error_details = null, %1$s_requested_at = null, %1$s_unstarted_requests = 0
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.retry_stage(uuid, text) is 'From error back to wait, so that it is asked for again.';

create function captionacc.complete_review(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    if p_stage is null or p_stage not in ('boundaries', 'text') then
        raise exception 'stage % is not boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010', hint = 'A layout is reviewed by approving it.';
    end if;
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'done' then
        return video;
    end if;
    if state ->> (p_stage || '_status') <> 'annotate' or state ->> (p_stage || '_run_id') is not null then
        raise exception 'the % stage of video % is in state %, %', p_stage, p_video_id,
            state ->> (p_stage || '_status'),
            coalesce('run ' || (state ->> (p_stage || '_run_id')) || ' works on it', 'so there is nothing to review')
            using errcode = 'CA002';
    end if;
    execute format('update videos set %1$s_status = ''done'' where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.complete_review(uuid, text) is 'A person is through with the captions: annotate to done.';

-- ---------------------------------------------------------------------------------------------
-- Layout

create function captionacc._approve_layout(p_video_id uuid, p_approved_by text, p_crop_region jsonb)
returns captionacc.videos
language sql
set search_path = captionacc, pg_temp
as $$
    update videos set
        layout_status = 'done', layout_error_details = null,
        layout_approved_at = clock_timestamp(), layout_approved_by = p_approved_by,
        crop_region = p_crop_region::crop_region, crop_region_version = crop_region_version + 1,
        boundaries_status = 'wait', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_requested_at = null, boundaries_unstarted_requests = 0, boundaries_note = '',
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = null, text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning *
$$;

create function captionacc.finish_layout(
    p_video_id uuid,
    p_run_id text,
    p_duration_seconds double precision,
    p_width integer,
    p_height integer,
    p_video_codec text,
    p_frame_count bigint,
    p_layout_found boolean,
    p_layout_confidence double precision,
    p_crop_region jsonb default null,
    p_note text default '',
    p_bitrate bigint default null,
    p_full_frame_count integer default null,
    p_ocr_box_count integer default null,
    p_failed_ocr_count integer default null,
    p_damage text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'layout', p_run_id);
    if p_crop_region is not null then
        perform _check_crop_region(p_crop_region);
    end if;
    if p_layout_found is null or (p_layout_found and p_crop_region is null) then
        raise exception 'a layout that was found has a crop region' using errcode = 'CA010';
    end if;
    -- An approval stands, whatever a later analysis says: a person may change it, a run may not.
    update videos set
        duration_seconds = p_duration_seconds, width = p_width, height = p_height, video_codec = p_video_codec,
        bitrate = coalesce(p_bitrate, bitrate), frame_count = p_frame_count,
        full_frame_count = coalesce(p_full_frame_count, full_frame_count),
        ocr_box_count = coalesce(p_ocr_box_count, ocr_box_count),
        failed_ocr_count = coalesce(p_failed_ocr_count, failed_ocr_count), damage = coalesce(p_damage, ''),
        layout_status = case when crop_region is null then 'annotate' else 'done' end,
        layout_error_details = null, layout_run_id = null, layout_finished_at = clock_timestamp(),
        layout_note = coalesce(p_note, ''), layout_found = p_layout_found,
        layout_confidence = p_layout_confidence, proposed_crop_region = p_crop_region::crop_region
    where id = p_video_id
    returning * into result;
    -- Without a caption band the confidence is that of there being none: a policy that trusts it has the
    -- fallback region processed, which ends in an empty result instead of a question to a person.
    if result.crop_region is null and p_crop_region is not null and exists (
        select from tenants
        where id = result.tenant_id and p_layout_confidence >= auto_approve_layout_confidence
    ) then
        result := _approve_layout(p_video_id, 'auto', p_crop_region);
    end if;
    return result;
end
$$;
comment on function captionacc.finish_layout(uuid, text, double precision, integer, integer, text, bigint, boolean,
    double precision, jsonb, text, bigint, integer, integer, integer, text) is
    'The layout is ready for a person, or approved as ''auto'' where the tenant''s policy says so. Without a '
    'caption band the confidence is that of there being none, and the crop region a fallback. '
    'An earlier approval and its crop region stay. CA002 for a run that is not the worker.';

create function captionacc.approve_layout(p_video_id uuid, p_approved_by text, p_crop_region jsonb default null)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    region jsonb := coalesce(p_crop_region, video.proposed_crop_region);
begin
    perform _check_text(p_approved_by, 'who approves');
    if video.layout_status not in ('annotate', 'done') then
        raise exception 'the layout of video % cannot be approved in state %', p_video_id, video.layout_status
            using errcode = 'CA002';
    end if;
    if region is null then
        raise exception 'no caption band was found in video %, so there is no crop region to approve', p_video_id
            using errcode = 'CA003', hint = 'Give one.';
    end if;
    perform _check_crop_region(region);
    -- The same region again is a second click, not a reason to process everything anew.
    if video.layout_status = 'done' and video.crop_region = region then
        return video;
    end if;
    return _approve_layout(p_video_id, p_approved_by, region);
end
$$;
comment on function captionacc.approve_layout(uuid, text, jsonb) is
    'Accept a crop region (null: the proposed one). A region that differs from the approved one gets a new '
    'crop_region_version, displaces the runs on boundaries and text and sends both stages back to wait.';

-- ---------------------------------------------------------------------------------------------
-- Cropped frames and boundaries

create function captionacc.allot_cropped_frames_version(p_video_id uuid, p_run_id text, p_crop_region jsonb)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    allotted integer;
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    perform _check_crop_region(p_crop_region);
    if p_crop_region is distinct from video.crop_region::jsonb then
        raise exception 'crop region % of video % is not the approved one, %', p_crop_region, p_video_id,
            video.crop_region using errcode = 'CA002';
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(),
        error_message = 'left unfinished; run ' || p_run_id || ' started over'
    where video_id = p_video_id and status = 'processing';
    select coalesce(max(version), 0) + 1 into allotted from cropped_frames_versions where video_id = p_video_id;
    insert into cropped_frames_versions (video_id, version, tenant_id, run_id, crop_region, crop_region_version)
    values (p_video_id, allotted, video.tenant_id, p_run_id, p_crop_region::crop_region, video.crop_region_version);
    return allotted;
end
$$;
comment on function captionacc.allot_cropped_frames_version(uuid, text, jsonb) is
    'A version number that was never used, for the run that works on the boundaries. A version that an earlier '
    'attempt left unfinished is marked failed.';

create function captionacc._locked_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
begin
    select * into found from cropped_frames_versions where video_id = p_video_id and version = p_version for update;
    if found.video_id is null then
        raise exception 'video % has no cropped-frames version %', p_video_id, p_version using errcode = 'CA009';
    end if;
    return found;
end
$$;

create function captionacc.activate_cropped_frames_version(
    p_video_id uuid, p_version integer, p_chunk_count integer, p_total_frames bigint, p_total_size_bytes bigint
) returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'active' then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %', p_version, p_video_id, found.status
            using errcode = 'CA002';
    end if;
    perform _check_owner(video, 'boundaries', found.run_id);
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and status = 'active';
    update cropped_frames_versions
    set status = 'active', activated_at = clock_timestamp(), chunk_count = p_chunk_count,
        total_frames = p_total_frames, total_size_bytes = p_total_size_bytes
    where video_id = p_video_id and version = p_version
    returning * into result;
    update videos set current_cropped_frames_version = p_version where id = p_video_id;
    return result;
end
$$;
comment on function captionacc.activate_cropped_frames_version(uuid, integer, integer, bigint, bigint) is
    'All chunks are in the bucket: readers use this version from now on, the former one is archived. '
    'CA002 when its run was displaced.';

create function captionacc.fail_cropped_frames_version(p_video_id uuid, p_version integer, p_message text)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
    result cropped_frames_versions;
begin
    -- Also of a deleted video: its half-written objects are to be removed as well.
    perform from videos where id = p_video_id for update;
    found := _locked_version(p_video_id, p_version);
    if found.status = 'failed' then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %, so it cannot fail', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(), error_message = left(coalesce(p_message, ''), 4000)
    where video_id = p_video_id and version = p_version
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_cropped_frames_version(uuid, integer, text) is
    'The version will not be finished; its objects may be removed.';

create function captionacc.record_inference_run(
    p_video_id uuid,
    p_cropped_frames_version integer,
    p_run_id text,
    p_model_version text,
    p_storage_key text,
    p_total_pairs bigint,
    p_processing_time_seconds double precision,
    p_started_at timestamptz,
    p_completed_at timestamptz,
    p_model_sha256 text default null,
    p_file_size_bytes bigint default null
) returns uuid
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result uuid;
begin
    perform _locked_version(p_video_id, p_cropped_frames_version);
    insert into caption_frame_extents_inference_runs (
        video_id, cropped_frames_version, tenant_id, run_id, model_version, model_sha256, storage_key,
        file_size_bytes, total_pairs, processing_time_seconds, started_at, completed_at
    ) values (
        p_video_id, p_cropped_frames_version, video.tenant_id, p_run_id, p_model_version, p_model_sha256,
        p_storage_key, p_file_size_bytes, p_total_pairs, p_processing_time_seconds, p_started_at, p_completed_at
    )
    on conflict (video_id, cropped_frames_version, model_version) do update set
        run_id = excluded.run_id, model_sha256 = excluded.model_sha256, storage_key = excluded.storage_key,
        file_size_bytes = excluded.file_size_bytes, total_pairs = excluded.total_pairs,
        processing_time_seconds = excluded.processing_time_seconds,
        started_at = excluded.started_at, completed_at = excluded.completed_at
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_inference_run(uuid, integer, text, text, text, bigint, double precision,
    timestamptz, timestamptz, text, bigint) is
    'Which model labelled a cropped-frames version. The same model again replaces its row.';

create function captionacc.finish_boundaries(
    p_video_id uuid, p_run_id text, p_version integer, p_caption_count integer, p_note text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    if video.current_cropped_frames_version is distinct from p_version then
        raise exception 'cropped-frames version % of video % is not the active one, %', p_version, p_video_id,
            coalesce(video.current_cropped_frames_version::text, 'none') using errcode = 'CA002';
    end if;
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        boundaries_status = 'annotate', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_finished_at = clock_timestamp(), boundaries_note = coalesce(p_note, ''),
        caption_count = p_caption_count,
        -- The same run goes on with the text; others may ask for it when it does not.
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = clock_timestamp(), text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_boundaries(uuid, text, integer, integer, text) is
    'captions.db is published: the captions are ready for a person, and their text is to be read.';

create function captionacc.finish_text(
    p_video_id uuid, p_run_id text, p_caption_count integer, p_note text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'text', p_run_id);
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        text_status = 'annotate', text_error_details = null, text_run_id = null,
        text_finished_at = clock_timestamp(), text_note = coalesce(p_note, ''),
        text_caption_count = p_caption_count
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_text(uuid, text, integer, text) is
    'The text of the captions is published; p_caption_count of them have one.';

-- ---------------------------------------------------------------------------------------------
-- Locks on client databases, as leases

create function captionacc._check_lease(p_database_name text, p_lease_seconds double precision) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_database_name is null or p_database_name not in ('layout', 'captions') then
        raise exception 'database % is not layout or captions', coalesce(p_database_name, 'null')
            using errcode = 'CA010';
    end if;
    if p_lease_seconds is null or not p_lease_seconds between 1 and 86400 then
        raise exception 'a lease of % s is not in [1, 86400]', p_lease_seconds using errcode = 'CA010';
    end if;
end
$$;

create function captionacc.take_lock(
    p_video_id uuid,
    p_database_name text,
    p_owner text,
    p_lease_seconds double precision,
    p_lock_type text default 'server'
) returns table (token uuid, expires_at timestamptz)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state video_database_state;
begin
    perform _check_lease(p_database_name, p_lease_seconds);
    perform _check_text(p_owner, 'the lock''s owner');
    if p_lock_type is null or p_lock_type not in ('server', 'client') then
        raise exception 'lock type % is not server or client', coalesce(p_lock_type, 'null') using errcode = 'CA010';
    end if;
    -- No lock on the video's row: locks of its two databases and its stages go their own ways.
    select * into video from videos where id = p_video_id;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif video.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, video.deleted_at using errcode = 'CA007';
    end if;
    insert into video_database_state (video_id, database_name, tenant_id)
    values (p_video_id, p_database_name, video.tenant_id)
    on conflict do nothing;
    -- One statement: the second of two takers waits for the first, then no longer finds the lock free.
    update video_database_state s
    set lock_token = gen_random_uuid(), lock_owner = p_owner, lock_type = p_lock_type,
        locked_at = clock_timestamp(), lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where s.video_id = p_video_id and s.database_name = p_database_name
        and (s.lock_token is null or s.lock_expires_at <= clock_timestamp())
    returning * into state;
    if state.lock_token is null then
        select * into state from video_database_state s
        where s.video_id = p_video_id and s.database_name = p_database_name;
        raise exception '%.db of video % is locked by % until %', p_database_name, p_video_id, state.lock_owner,
            state.lock_expires_at using errcode = 'CA004';
    end if;
    return query select state.lock_token, state.lock_expires_at;
end
$$;
comment on function captionacc.take_lock(uuid, text, text, double precision, text) is
    'Take the lock of layout.db or captions.db if it is free or its lease is over. CA004 when it is held.';

create function captionacc.renew_lock(p_token uuid, p_lease_seconds double precision) returns timestamptz
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result timestamptz;
begin
    perform _check_lease('layout', p_lease_seconds);
    -- An expired lease that nobody took is still the holder's alone.
    update video_database_state
    set lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where lock_token = p_token
    returning lock_expires_at into result;
    if result is null then
        raise exception 'the lock was released or taken over' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.renew_lock(uuid, double precision) is
    'Extend a lease, counted from now; gives its new end. CA005 when another holder took it.';

create function captionacc.release_lock(p_token uuid) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update video_database_state
    set lock_token = null, lock_owner = null, lock_type = null, locked_at = null, lock_expires_at = null
    where lock_token = p_token;
    return found;
end
$$;
comment on function captionacc.release_lock(uuid) is 'Give a lock back; false when it was no longer the caller''s.';

create function captionacc.bump_database_version(p_token uuid) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    update video_database_state set server_version = server_version + 1
    where lock_token = p_token and lock_expires_at > clock_timestamp()
    returning server_version into result;
    if result is null then
        raise exception 'the lock''s lease is over, or another holder took it' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.bump_database_version(uuid) is
    'A new version of the file was published by the lock''s holder. CA005 without a lease that still runs.';

create function captionacc.list_locks(p_include_expired boolean default false)
returns table (
    video_id uuid, database_name text, tenant_id uuid, lock_owner text, lock_type text,
    locked_at timestamptz, lock_expires_at timestamptz, expired boolean
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select s.video_id, s.database_name, s.tenant_id, s.lock_owner, s.lock_type, s.locked_at, s.lock_expires_at,
        s.lock_expires_at <= clock_timestamp()
    from video_database_state s
    where s.lock_token is not null and (p_include_expired or s.lock_expires_at > clock_timestamp())
    order by s.locked_at, s.video_id, s.database_name
$$;
comment on function captionacc.list_locks(boolean) is 'Who holds what until when; tokens are not told.';

-- ---------------------------------------------------------------------------------------------
-- Usage

create function captionacc.record_usage(
    p_tenant_id uuid,
    p_metric_type text,
    p_metric_value numeric,
    p_video_id uuid default null,
    p_cost_estimate_usd numeric default null,
    p_metadata jsonb default '{}'
) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into usage_metrics (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata)
    values (p_tenant_id, p_video_id, p_metric_type, p_metric_value, p_cost_estimate_usd, p_metadata)
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_usage(uuid, text, numeric, uuid, numeric, jsonb) is
    'Add an amount that a tenant used; other amounts of the same kind stay beside it.';

revoke execute on all functions in schema captionacc from public;
