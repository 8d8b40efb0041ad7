drop trigger videos_notify_updated on captionacc.videos;

alter table captionacc.videos add column priority_override integer;

create table captionacc.jobs (
    id uuid default gen_random_uuid() not null,
    tenant_id uuid not null,
    video_id uuid not null,
    type text not null,
    state text default 'queued'::text not null,
    progress integer default 0 not null,
    message text default ''::text not null,
    parameters jsonb default '{}'::jsonb not null,
    result jsonb,
    priority integer,
    run_id text,
    requested_by text not null,
    created_at timestamp with time zone default clock_timestamp() not null,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    updated_at timestamp with time zone default clock_timestamp() not null
);

create table captionacc.events (
    transaction_id xid8 default pg_current_xact_id() not null,
    id bigint generated always as identity not null,
    tenant_id uuid not null,
    video_id uuid not null,
    kind text not null,
    payload jsonb not null,
    occurred_at timestamp with time zone default clock_timestamp() not null
);

create table captionacc.stage_progress (
    video_id uuid not null,
    stage text not null,
    tenant_id uuid not null,
    run_id text not null,
    percent integer not null,
    message text not null,
    done bigint not null,
    total bigint not null,
    updated_at timestamp with time zone default clock_timestamp() not null
);

create or replace function captionacc._follow_database() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if new.lock_token is distinct from old.lock_token then
        perform _record_event(new.tenant_id, new.video_id, 'lock', jsonb_build_object(
            'video_id', new.video_id, 'database', new.database_name, 'owner', new.lock_owner,
            'type', new.lock_type, 'expires_at', new.lock_expires_at));
    end if;
    if new.server_version <> old.server_version then
        perform _record_event(new.tenant_id, new.video_id, new.database_name,
            jsonb_build_object('video_id', new.video_id, 'version', new.server_version));
    end if;
    return null;
end
$$;
comment on function captionacc._follow_database() is
    'Record as events that a client database was published, and that its lock was taken or released.';

create or replace function captionacc._follow_job() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _record_event(new.tenant_id, new.video_id, 'job', jsonb_build_object(
        'job_id', new.id, 'video_id', new.video_id, 'type', new.type, 'state', new.state,
        'progress', new.progress, 'message', new.message, 'run_id', new.run_id));
    return null;
end
$$;
comment on function captionacc._follow_job() is 'Record a job''s beginning and its changes of state as events.';

create or replace function captionacc._follow_video() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if tg_op = 'UPDATE' then
        delete from stage_progress p
        where p.video_id = new.id and p.run_id is distinct from case p.stage
            when 'layout' then new.layout_run_id when 'boundaries' then new.boundaries_run_id
            else new.text_run_id end;
        perform _advance_jobs(new);
    end if;
    perform _record_event(new.tenant_id, new.id, 'video', jsonb_build_object(
        'video_id', new.id, 'name', new.display_path,
        'uploaded', new.uploaded_at is not null, 'deleted', new.deleted_at is not null,
        'layout', jsonb_build_object('status', new.layout_status, 'run_id', new.layout_run_id),
        'boundaries', jsonb_build_object('status', new.boundaries_status, 'run_id', new.boundaries_run_id),
        'text', jsonb_build_object('status', new.text_status, 'run_id', new.text_run_id)));
    return null;
end
$$;
comment on function captionacc._follow_video() is
    'Record a video''s change as an event, advance its jobs, and remove the progress of runs that ended.';

create or replace function captionacc._notify_event(p_tenant_id uuid) returns void
language sql
set search_path = captionacc, pg_temp
as $$
    -- A channel's name has at most 63 bytes. Equal notifications of a transaction arrive once.
    select pg_notify(left(current_schema(), 56) || '_events', p_tenant_id::text)
$$;
comment on function captionacc._notify_event(uuid) is
    'Notify the channel <schema>_events that a tenant''s clients have something to hear.';

create or replace function captionacc._record_event(p_tenant_id uuid, p_video_id uuid, p_kind text, p_payload jsonb)
returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    insert into events (tenant_id, video_id, kind, payload) values (p_tenant_id, p_video_id, p_kind, p_payload);
    perform _notify_event(p_tenant_id);
end
$$;
comment on function captionacc._record_event(uuid, uuid, text, jsonb) is
    'Add an event, and notify the channel <schema>_events at the end of the transaction.';

create or replace function captionacc.events_after(
    p_event_id text, p_progress_since timestamptz default null, p_limit integer default 500
) returns table (event_id text, kind text, video_id uuid, payload jsonb, occurred_at timestamptz)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    if p_event_id is null or p_event_id !~ '^\d{1,18}-\d{1,18}$' then
        raise exception 'event % is not the id of an event', left(coalesce(p_event_id, 'null'), 50)
            using errcode = 'CA010';
    end if;
    perform _check_claim(p_limit, 0, 1);
    return query
        select e.transaction_id::text || '-' || e.id::text, e.kind, e.video_id, e.payload, e.occurred_at
        from events e
        where (e.transaction_id, e.id)
                > (split_part(p_event_id, '-', 1)::xid8, split_part(p_event_id, '-', 2)::bigint)
            and e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        order by e.transaction_id, e.id limit p_limit;
    if p_progress_since is not null then
        return query
            select null, 'progress', p.video_id, to_jsonb(p) - 'tenant_id', p.updated_at
            from stage_progress p where p.updated_at > p_progress_since
            order by p.updated_at limit p_limit;
    end if;
end
$$;
comment on function captionacc.events_after(text, timestamptz, integer) is
    'Return the events after one, in order, that the caller may see, and then the progress of running stages '
    'that changed after p_progress_since (null: none), without ids. CA010 for what is no id.';

create or replace function captionacc.events_cursor() returns text
language sql stable
set search_path = captionacc, pg_temp
as $$
    select pg_snapshot_xmin(pg_current_snapshot())::text || '-0'
$$;
comment on function captionacc.events_cursor() is
    'Return the id after which events_after returns the events of transactions that end from now on.';

create or replace function captionacc.held_locks(p_limit integer default 500)
returns table (video_id uuid, database text, owner text, type text, expires_at timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select s.video_id, s.database_name, s.lock_owner, s.lock_type, s.lock_expires_at
    from video_database_state s
    where s.lock_expires_at > clock_timestamp()
    order by s.lock_expires_at desc limit p_limit
$$;
comment on function captionacc.held_locks(integer) is
    'Return the locks that are held on databases of the caller''s videos, as lock events have them.';

create or replace function captionacc.purge_events(p_older_than_seconds double precision default 86400)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed integer;
begin
    if p_older_than_seconds is null or not p_older_than_seconds >= 3600 then
        raise exception 'events of the last hour are kept' using errcode = 'CA010';
    end if;
    delete from events where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_events(double precision) is
    'Delete events that are older; return their number. A client that was away for longer reads everything again.';

create or replace function captionacc.report_progress(
    p_video_id uuid, p_stage text, p_run_id text, p_percent integer, p_message text, p_done bigint, p_total bigint
) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    owner text;
    tenant uuid;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_message, 'the message');
    if p_percent is null or p_percent not between 0 and 100 or p_done is null or p_done < 0
        or p_total is null or p_total < 0
    then
        raise exception 'progress of % %% (% of %) is not usable', p_percent, p_done, p_total using errcode = 'CA010';
    end if;
    -- Not locked: nothing depends on progress, and a run that has just ended must not wait for it.
    select case p_stage when 'layout' then v.layout_run_id when 'boundaries' then v.boundaries_run_id
        else v.text_run_id end, v.tenant_id into owner, tenant
    from videos v where v.id = p_video_id and v.deleted_at is null;
    if owner is distinct from p_run_id then
        return false;
    end if;
    insert into stage_progress as p (video_id, stage, tenant_id, run_id, percent, message, done, total)
    values (p_video_id, p_stage, tenant, p_run_id, p_percent, left(p_message, 200), p_done, p_total)
    on conflict (video_id, stage) do update set
        run_id = excluded.run_id, percent = excluded.percent, message = excluded.message, done = excluded.done,
        total = excluded.total, updated_at = clock_timestamp()
    where p.run_id <> excluded.run_id or p.updated_at <= clock_timestamp() - interval '0.9 s';
    if not found then
        return false;
    end if;
    update jobs j set
        progress = greatest(j.progress, _job_progress(j.type, p_stage, p_percent)),
        message = left(p_message, 1000), updated_at = clock_timestamp()
    where j.video_id = p_video_id and j.finished_at is null and p_stage = any(_job_stages(j.type));
    perform _notify_event(tenant);
    return true;
end
$$;
comment on function captionacc.report_progress(uuid, text, text, integer, text, bigint, bigint) is
    'Record the progress of a stage''s worker. Returns false, and changes nothing, for another run and within '
    '0.9 s of the last report.';

create or replace function captionacc._advance_jobs(p_video captionacc.videos) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    job jobs;
    states jsonb := to_jsonb(p_video);
    stage text;
    status text;
    worker text;
    error jsonb;
    next_state text;
    note text;
begin
    for job in
        select * from jobs where video_id = p_video.id and finished_at is null and type <> 'export' for update
    loop
        next_state := 'succeeded';
        note := '';
        worker := job.run_id;
        if p_video.deleted_at is not null then
            next_state := 'cancelled';
            note := 'the video was deleted';
        else
            foreach stage in array _job_stages(job.type) loop
                status := states ->> (stage || '_status');
                error := states -> (stage || '_error_details');
                if status = 'error' then
                    next_state := case when error ->> 'error_type' in ('Cancelled', 'CancelledError')
                        then 'cancelled' else 'failed' end;
                    note := left(error ->> 'message', 1000);
                    exit;
                elsif states ->> (stage || '_run_id') is not null then
                    next_state := 'running';
                    worker := states ->> (stage || '_run_id');
                    note := case when worker is distinct from job.run_id then stage else job.message end;
                    exit;
                elsif status = 'wait' then
                    next_state := job.state;
                    note := job.message;
                    exit;
                elsif stage = 'layout' and status = 'annotate' and job.type = 'process' then
                    note := 'the layout waits for approval';
                    exit;
                end if;
            end loop;
        end if;
        continue when (next_state, note, worker) is not distinct from (job.state, job.message, job.run_id);
        update jobs set
            state = next_state, message = note, run_id = worker, updated_at = clock_timestamp(),
            started_at = case when next_state = 'running' then coalesce(started_at, clock_timestamp())
                else started_at end,
            progress = case when next_state = 'succeeded' then 100 else progress end,
            finished_at = case when next_state not in ('queued', 'running') then clock_timestamp() end
        where id = job.id;
    end loop;
end
$$;
comment on function captionacc._advance_jobs(captionacc.videos) is
    'Bring a video''s open jobs to the state that its stages show.';

create or replace function captionacc._job_progress(p_type text, p_stage text, p_percent integer) returns integer
language sql immutable
set search_path = captionacc, pg_temp
as $$
    -- Where a stage begins and ends in its job: cropping and labelling take longest.
    select case p_type || ' ' || p_stage
        when 'process layout' then p_percent * 30 / 100
        when 'process boundaries' then 30 + p_percent * 50 / 100
        when 'process text' then 80 + p_percent * 20 / 100
        when 'captions boundaries' then p_percent * 70 / 100
        when 'captions text' then 70 + p_percent * 30 / 100
        else p_percent end
$$;
comment on function captionacc._job_progress(text, text, integer) is
    'Return a job''s progress, 0 to 100, from that of one of its stages.';

create or replace function captionacc._job_stages(p_type text) returns text[]
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select case p_type
        when 'process' then array['layout', 'boundaries', 'text']
        when 'layout' then array['layout']
        when 'captions' then array['boundaries', 'text']
        when 'caption_text' then array['text']
        else '{}' end
$$;
comment on function captionacc._job_stages(text) is 'Return the stages that a type of job does, in their order.';

create or replace function captionacc._request_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    execute format(
        $sql$
        update videos set
            %1$s_status = 'wait', %1$s_error_details = null, %1$s_requested_at = null,
            %1$s_unstarted_requests = 0, %1$s_note = ''
        where id = $1 and %1$s_status <> 'wait' returning *
        $sql$, p_stage)
    into result using p_video_id;
    if result.id is null then
        select * into result from videos where id = p_video_id;
    end if;
    return result;
end
$$;
comment on function captionacc._request_stage(uuid, text) is
    'Let a stage that nothing works on wait for a run, whatever its status is.';

create or replace function captionacc.cancel_job(p_job_id uuid, p_cancelled_by text) returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result jobs;
    video videos;
    states jsonb;
    stage text;
begin
    perform _check_text(p_cancelled_by, 'who cancels');
    select * into result from jobs where id = p_job_id;
    if result.id is null then
        raise exception 'job % is not in the catalogue', p_job_id using errcode = 'CA012';
    elsif result.finished_at is not null then
        return result;
    end if;
    -- The video first, as every change of a stage locks it.
    select * into video from videos where id = result.video_id for update;
    states := to_jsonb(video);
    foreach stage in array _job_stages(result.type) loop
        if states ->> (stage || '_run_id') is not null or states ->> (stage || '_status') = 'wait' then
            -- The stages after it wait for this one, so they need no cancellation.
            perform cancel_stage(result.video_id, stage, p_cancelled_by);
            exit;
        end if;
    end loop;
    update jobs set state = 'cancelled', message = left('cancelled by ' || p_cancelled_by, 1000),
        finished_at = clock_timestamp(), updated_at = clock_timestamp()
    where id = p_job_id and finished_at is null;
    select * into result from jobs where id = p_job_id;
    return result;
end
$$;
comment on function captionacc.cancel_job(uuid, text) is
    'Cancel a job: its stage ends in the error CancelledError, and the run that works on it is ended. A '
    'finished job stays as it is. CA012.';

create or replace function captionacc.create_job(
    p_video_id uuid, p_type text, p_parameters jsonb default '{}', p_priority integer default null,
    p_requested_by text default 'service'
) returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    states jsonb;
    stages text[] := _job_stages(p_type);
    stage text;
    result jobs;
begin
    perform _check_text(p_requested_by, 'who asks');
    if p_type is null or p_type not in ('process', 'layout', 'captions', 'caption_text', 'export') then
        raise exception 'job type % is not process, layout, captions, caption_text or export',
            coalesce(p_type, 'null') using errcode = 'CA010';
    elsif p_priority is not null and p_priority not between 0 and 100 then
        raise exception 'priority % is not in [0, 100]', p_priority using errcode = 'CA010';
    elsif p_parameters is null or jsonb_typeof(p_parameters) <> 'object'
        or octet_length(p_parameters::text) > 4000
    then
        raise exception 'the parameters are not a JSON object of at most 4000 bytes' using errcode = 'CA010';
    end if;
    video := _locked_video(p_video_id);
    -- A repeated request changes nothing.
    select * into result from jobs where video_id = p_video_id and type = p_type and finished_at is null;
    if result.id is not null then
        return result;
    end if;
    if video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_type = 'captions' and video.layout_status <> 'done' then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    elsif p_type in ('caption_text', 'export') and video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    states := to_jsonb(video);
    foreach stage in array stages loop
        if states ->> (stage || '_run_id') is not null then
            raise exception 'run % works on the % stage of video %', states ->> (stage || '_run_id'), stage,
                p_video_id using errcode = 'CA002', hint = 'Wait for it, or cancel it.';
        end if;
    end loop;
    if p_parameters ? 'languages' then
        perform set_video_languages(p_video_id,
            array(select jsonb_array_elements_text(p_parameters -> 'languages')));
    end if;
    foreach stage in array stages loop
        perform _request_stage(p_video_id, stage);
    end loop;
    if p_type <> 'export' then
        update videos set priority_override = p_priority
        where id = p_video_id and priority_override is distinct from p_priority;
    end if;
    insert into jobs (tenant_id, video_id, type, parameters, priority, requested_by)
    values (video.tenant_id, p_video_id, p_type, p_parameters, p_priority, p_requested_by)
    returning * into result;
    return result;
end
$$;
comment on function captionacc.create_job(uuid, text, jsonb, integer, text) is
    'Request work on a video: its stages wait for a run, and the job follows them. An open job of the same '
    'type is returned. CA002 if a run works on one of the stages, or if their inputs are missing.';

create or replace function captionacc.finish_export(p_job_id uuid, p_result jsonb, p_message text default '')
returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result jobs;
begin
    select * into result from jobs where id = p_job_id and type = 'export' for update;
    if result.id is null then
        raise exception 'export job % is not in the catalogue', p_job_id using errcode = 'CA012';
    elsif result.finished_at is not null then
        return result;
    end if;
    update jobs j set
        state = case when p_result is null then 'failed' else 'succeeded' end, result = p_result,
        message = left(coalesce(p_message, ''), 1000), progress = case when p_result is null then j.progress else 100 end,
        started_at = coalesce(j.started_at, clock_timestamp()), finished_at = clock_timestamp(),
        updated_at = clock_timestamp()
    where j.id = p_job_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_export(uuid, jsonb, text) is
    'End an export with its result, or as failed without one. CA012.';

create or replace function captionacc.purge_jobs(p_older_than_seconds double precision default 7776000)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed integer;
begin
    if p_older_than_seconds is null or not p_older_than_seconds >= 3600 then
        raise exception 'jobs of the last hour are kept' using errcode = 'CA010';
    end if;
    delete from jobs where finished_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_jobs(double precision) is
    'Delete jobs that finished so long ago; return their number.';

create or replace function captionacc.approve_layout_by_person(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb default null,
    p_disable_age_boosting boolean default false, p_caption_zones jsonb default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    -- First, so that whoever is notified of the approval sees it.
    update videos set disable_age_boosting = coalesce(p_disable_age_boosting, false)
    where id = p_video_id and disable_age_boosting is distinct from coalesce(p_disable_age_boosting, false);
    result := approve_layout(p_video_id, p_approved_by, p_crop_region, p_caption_zones);
    return result;
end
$$;
comment on function captionacc.approve_layout_by_person(uuid, text, jsonb, boolean, jsonb) is
    'Approve a layout, as approve_layout does. With p_disable_age_boosting the following runs gain no priority by '
    'waiting.';

create or replace function captionacc.confirm_upload(p_video_id uuid, p_size_bytes bigint) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    if p_size_bytes is distinct from video.size_bytes then
        raise exception 'the file of video % has % bytes, and % were registered', p_video_id, p_size_bytes,
            video.size_bytes using errcode = 'CA002', hint = 'Upload the complete file.';
    elsif video.uploaded_at is not null then
        return video;
    end if;
    update videos set uploaded_at = clock_timestamp() where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.confirm_upload(uuid, bigint) is
    'Record that a registered file is completely in the bucket: from now on the video can be claimed. CA002 if '
    'its size is another one.';

create or replace function captionacc.register_upload(
    p_tenant_id uuid, p_video_id uuid, p_storage_key text, p_size_bytes bigint, p_display_path text,
    p_uploaded_by_user_id uuid default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    candidate videos;
    refusal record;
begin
    if p_size_bytes is null or p_size_bytes < 1 then
        raise exception 'size % is not a number of bytes', p_size_bytes using errcode = 'CA010';
    end if;
    candidate.tenant_id := p_tenant_id;
    candidate.size_bytes := p_size_bytes;
    select * into refusal from _quota_refusal(candidate, 0, 0);
    if found then
        raise exception '%', refusal.message using errcode = 'CA014';
    end if;
    return register_video(p_tenant_id, p_video_id, p_storage_key, p_size_bytes, p_display_path, false,
        p_uploaded_by_user_id);
end
$$;
comment on function captionacc.register_upload(uuid, uuid, text, bigint, text, uuid) is
    'Register a video whose file is about to be uploaded. CA014 if it would exceed a quota now; the claim '
    'checks again. CA006, CA008, CA010.';

create or replace function captionacc.search_videos(
    p_text text, p_tenant_id uuid default null, p_limit integer default 100
) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    wanted text := '%' || regexp_replace(clean_name(p_text), '([\\%_])', '\\\1', 'g') || '%';
begin
    perform _check_text(p_text, 'the text');
    perform _check_claim(p_limit, 0, 1);
    return query
        select v.* from videos v
        where v.deleted_at is null and (p_tenant_id is null or v.tenant_id = p_tenant_id)
            and (v.display_path ilike wanted or starts_with(v.id::text, lower(p_text)))
        order by v.created_at desc, v.id limit p_limit;
end
$$;
comment on function captionacc.search_videos(text, uuid, integer) is
    'Return videos that the caller may see whose name contains the text or whose id starts with it, newest first.';

create or replace function captionacc.set_age_boosting(p_video_id uuid, p_disabled boolean) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos := _locked_video(p_video_id);
begin
    update videos set disable_age_boosting = coalesce(p_disabled, false)
    where id = p_video_id and disable_age_boosting is distinct from coalesce(p_disabled, false)
    returning * into result;
    if result.id is null then
        select * into result from videos where id = p_video_id;
    end if;
    return result;
end
$$;
comment on function captionacc.set_age_boosting(uuid, boolean) is
    'Set whether a video''s runs gain no priority by waiting.';

create or replace function captionacc._act(p_action text, p_video_id uuid, p_arguments jsonb) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := coalesce(_refused_caller(p_action, p_video_id), _over_limit(p_action));
    caller text := auth.uid()::text;
    video videos;
    reason text;
    hint text;
begin
    if answer is not null then
        return answer;
    end if;
    begin
        case p_action
            when 'approve_layout' then
                video := approve_layout(p_video_id, caller, nullif(p_arguments -> 'crop_region', 'null'),
                    nullif(p_arguments -> 'caption_zones', 'null'));
                update videos
                set disable_age_boosting = coalesce((p_arguments ->> 'disable_age_boosting')::boolean, false)
                where id = p_video_id returning * into video;
            when 'request_caption_ocr' then
                answer := jsonb_build_object('request', to_jsonb(request_caption_ocr(p_video_id,
                    case when jsonb_typeof(p_arguments -> 'caption_ids') = 'array' then
                        array(select value::bigint from jsonb_array_elements_text(p_arguments -> 'caption_ids'))
                    end, caller)));
            when 'complete_review' then
                video := complete_review(p_video_id, p_arguments ->> 'stage');
            when 'retry' then
                video := retry_stage(p_video_id, p_arguments ->> 'stage');
            when 'cancel' then
                video := cancel_stage(p_video_id, p_arguments ->> 'stage', caller);
            when 'set_age_boosting' then
                video := set_age_boosting(p_video_id, (p_arguments ->> 'disabled')::boolean);
            when 'confirm_upload' then
                video := confirm_upload(p_video_id, (p_arguments ->> 'size_bytes')::bigint);
            when 'rename' then
                video := rename_video(p_video_id, p_arguments ->> 'name');
            when 'delete' then
                video := soft_delete_video(p_video_id);
            when 'create_job' then
                if p_arguments ->> 'priority' is not null and not is_platform_admin() then
                    raise exception 'only operators choose a priority' using errcode = 'CA011';
                end if;
                answer := jsonb_build_object('job', to_jsonb(create_job(p_video_id, p_arguments ->> 'type',
                    p_arguments -> 'parameters', (p_arguments ->> 'priority')::integer, caller)));
            when 'cancel_job' then
                answer := jsonb_build_object('job',
                    to_jsonb(cancel_job((p_arguments ->> 'job_id')::uuid, caller)));
            when 'finish_export' then
                answer := jsonb_build_object('job', to_jsonb(finish_export((p_arguments ->> 'job_id')::uuid,
                    nullif(p_arguments -> 'result', 'null'), p_arguments ->> 'message')));
        end case;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused(p_action, p_video_id, sqlstate, reason, hint, 'refused_by_state');
    end;
    if p_action not in ('rename', 'delete') then  -- which record themselves
        perform _audit(p_action, 'allowed', '', p_video_id, p_arguments);
    end if;
    if video.id is null then
        select * into video from videos where id = p_video_id;
    end if;
    return jsonb_build_object('ok', true, 'video', to_jsonb(video)) || coalesce(answer, '{}');
end
$$;

create or replace function captionacc._not_taken(p_code text, p_message text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform set_config('response.status', case p_code when 'CA010' then '400' when 'CA001' then '404' else '409' end,
        true);
    return jsonb_build_object('ok', false, 'code', p_code, 'message', p_message, 'hint', null, 'details', null);
end
$$;
comment on function captionacc._not_taken(text, text) is
    'Return the answer for a lock that cannot be taken or used, without recording it.';

create or replace function captionacc._with_lock(p_action text, p_token uuid, p_arguments jsonb default '{}')
returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    reason text;
    value jsonb;
begin
    if not exists (
        select from video_database_state s
        where s.lock_token = p_token and s.lock_type = 'client'
    ) and p_action <> 'release_lock' then
        return _not_taken('CA005', 'the lock was released or taken over');
    end if;
    begin
        value := case p_action
            when 'renew_lock' then
                to_jsonb(renew_lock(p_token, least((p_arguments ->> 'lease_seconds')::double precision, 300)))
            when 'release_lock' then to_jsonb(release_lock(p_token))
            when 'bump_database_version' then to_jsonb(bump_database_version(p_token))
            when 'record_caption_count' then
                to_jsonb(record_caption_count(p_token, (p_arguments ->> 'caption_count')::integer))
        end;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text;
            return _not_taken(sqlstate, reason);
    end;
    return jsonb_build_object('ok', true, 'value', jsonb_build_object(p_action, value));
end
$$;
comment on function captionacc._with_lock(text, uuid, jsonb) is
    'Do what only the holder of a client''s lock may do: the token is the proof.';

create or replace function captionacc.app_bump_database_version(p_token uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('bump_database_version', p_token)
$$;
comment on function captionacc.app_bump_database_version(uuid) is 'Record a published version, as bump_database_version does.';

create or replace function captionacc.app_cancel_job(p_job_id uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('cancel_job', (select video_id from jobs where id = p_job_id),
        jsonb_build_object('job_id', p_job_id))
$$;
comment on function captionacc.app_cancel_job(uuid) is 'Cancel a job, as cancel_job does.';

create or replace function captionacc.app_confirm_upload(p_video_id uuid, p_size_bytes bigint) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('confirm_upload', p_video_id, jsonb_build_object('size_bytes', p_size_bytes))
$$;
comment on function captionacc.app_confirm_upload(uuid, bigint) is 'Record that the user''s file is in the bucket, as confirm_upload does.';

create or replace function captionacc.app_create_job(
    p_video_id uuid, p_type text, p_parameters jsonb default '{}', p_priority integer default null
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('create_job', p_video_id,
        jsonb_build_object('type', p_type, 'parameters', p_parameters, 'priority', p_priority))
$$;
comment on function captionacc.app_create_job(uuid, text, jsonb, integer) is
    'Request work on a video, as create_job does. Only platform admins choose a priority.';

create or replace function captionacc.app_delete_video(p_video_id uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('delete', p_video_id, '{}')
$$;
comment on function captionacc.app_delete_video(uuid) is 'Delete a video, as soft_delete_video does.';

create or replace function captionacc.app_finish_export(p_job_id uuid, p_result jsonb, p_message text default '')
returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('finish_export', (select video_id from jobs where id = p_job_id),
        jsonb_build_object('job_id', p_job_id, 'result', p_result, 'message', p_message))
$$;
comment on function captionacc.app_finish_export(uuid, jsonb, text) is 'End an export, as finish_export does.';

create or replace function captionacc.app_record_caption_count(p_token uuid, p_caption_count integer) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('record_caption_count', p_token, jsonb_build_object('caption_count', p_caption_count))
$$;
comment on function captionacc.app_record_caption_count(uuid, integer) is 'Record the number of captions after an edit, as record_caption_count does.';

create or replace function captionacc.app_register_upload(
    p_video_id uuid, p_storage_key text, p_size_bytes bigint, p_display_path text
) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    answer jsonb;
    video videos;
    reason text;
    hint text;
begin
    select * into caller from user_profiles where user_id = auth.uid() and approval_status = 'approved';
    if caller.user_id is null then
        return _refused('register_upload', null, 'CA011', 'your account is not approved', '', 'not_approved');
    end if;
    answer := _over_limit('register_upload');
    if answer is not null then
        return answer;
    end if;
    if (
        select count(*) from (
            select from videos where uploaded_by_user_id = caller.user_id and uploaded_at is null
                and deleted_at is null and created_at > clock_timestamp() - interval '1 day'
            limit 100
        ) pending
    ) >= 100 then
        return _too_many('100 of your uploads of this day are not complete', 'Complete or delete some of them.');
    end if;
    begin
        video := register_upload(caller.tenant_id, p_video_id, p_storage_key, p_size_bytes, p_display_path,
            caller.user_id);
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused('register_upload', null, sqlstate, reason, hint, 'refused_by_state');
    end;
    perform _audit('register_upload', 'allowed', '', p_video_id, jsonb_build_object('size_bytes', p_size_bytes));
    return jsonb_build_object('ok', true, 'video', to_jsonb(video));
end
$$;
comment on function captionacc.app_register_upload(uuid, text, bigint, text) is
    'Register a file that the user is about to upload into their tenant, as register_upload does.';

create or replace function captionacc.app_release_lock(p_token uuid) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('release_lock', p_token)
$$;
comment on function captionacc.app_release_lock(uuid) is 'Release a lock, as release_lock does.';

create or replace function captionacc.app_rename_video(p_video_id uuid, p_name text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('rename', p_video_id, jsonb_build_object('name', p_name))
$$;
comment on function captionacc.app_rename_video(uuid, text) is 'Rename a video, as rename_video does.';

create or replace function captionacc.app_renew_lock(p_token uuid, p_lease_seconds double precision) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _with_lock('renew_lock', p_token, jsonb_build_object('lease_seconds', p_lease_seconds))
$$;
comment on function captionacc.app_renew_lock(uuid, double precision) is 'Extend a client''s lease by at most 300 s, as renew_lock does.';

create or replace function captionacc.app_set_age_boosting(p_video_id uuid, p_disabled boolean) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('set_age_boosting', p_video_id, jsonb_build_object('disabled', p_disabled))
$$;
comment on function captionacc.app_set_age_boosting(uuid, boolean) is
    'Set whether a video''s runs gain no priority by waiting, as set_age_boosting does.';

create or replace function captionacc.app_take_lock(
    p_video_id uuid, p_database_name text, p_owner text, p_lease_seconds double precision,
    p_lock_type text default 'client'
) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := _refused_caller('take_lock', p_video_id);
    taken record;
    reason text;
    shown text;
begin
    if answer is not null then
        return answer;
    end if;
    if p_lease_seconds > 300 then
        return _not_taken('CA010', 'a lease of a user lasts at most 300 s');
    end if;
    -- The name that others see is the user's own, whatever the client says.
    select coalesce(nullif(display_name, ''), user_id::text) into shown
    from user_profiles where user_id = auth.uid();
    begin
        select * into taken from take_lock(p_video_id, p_database_name, shown, p_lease_seconds, 'client');
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text;
            return _not_taken(sqlstate, reason);
    end;
    return jsonb_build_object('ok', true, 'lock', to_jsonb(taken));
end
$$;
comment on function captionacc.app_take_lock(uuid, text, text, double precision, text) is
    'Take the lock of a database of the user''s video for at most 300 s, as take_lock does. A lock that is held '
    'is not recorded as a refusal: clients wait for it.';

alter table captionacc.videos add constraint videos_priority_override_check CHECK (((priority_override >= 0) AND (priority_override <= 100)));

alter table captionacc.jobs add constraint jobs_type_check CHECK ((type = ANY (ARRAY['process'::text, 'layout'::text, 'captions'::text, 'caption_text'::text, 'export'::text])));

alter table captionacc.jobs add constraint jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])));

alter table captionacc.jobs add constraint jobs_progress_check CHECK (((progress >= 0) AND (progress <= 100)));

alter table captionacc.jobs add constraint jobs_message_check CHECK ((length(message) <= 1000));

alter table captionacc.jobs add constraint jobs_parameters_check CHECK ((jsonb_typeof(parameters) = 'object'::text));

alter table captionacc.jobs add constraint jobs_result_check CHECK ((jsonb_typeof(result) = 'object'::text));

alter table captionacc.jobs add constraint jobs_priority_check CHECK (((priority >= 0) AND (priority <= 100)));

alter table captionacc.jobs add constraint jobs_requested_by_check CHECK ((requested_by <> ''::text));

alter table captionacc.jobs add constraint jobs_finished CHECK (((state = ANY (ARRAY['queued'::text, 'running'::text])) = (finished_at IS NULL)));

alter table captionacc.jobs add constraint jobs_pkey PRIMARY KEY (id);

alter table captionacc.events add constraint events_kind_check CHECK ((kind = ANY (ARRAY['video'::text, 'captions'::text, 'layout'::text, 'lock'::text, 'job'::text])));

alter table captionacc.events add constraint events_payload_check CHECK ((jsonb_typeof(payload) = 'object'::text));

alter table captionacc.events add constraint events_pkey PRIMARY KEY (transaction_id, id);

alter table captionacc.stage_progress add constraint stage_progress_stage_check CHECK ((stage = ANY (ARRAY['layout'::text, 'boundaries'::text, 'text'::text])));

alter table captionacc.stage_progress add constraint stage_progress_percent_check CHECK (((percent >= 0) AND (percent <= 100)));

alter table captionacc.stage_progress add constraint stage_progress_message_check CHECK ((length(message) <= 200));

alter table captionacc.stage_progress add constraint stage_progress_done_check CHECK ((done >= 0));

alter table captionacc.stage_progress add constraint stage_progress_total_check CHECK ((total >= 0));

alter table captionacc.stage_progress add constraint stage_progress_pkey PRIMARY KEY (video_id, stage);

alter table captionacc.jobs add constraint jobs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES captionacc.tenants(id);

alter table captionacc.jobs add constraint jobs_video_id_fkey FOREIGN KEY (video_id) REFERENCES captionacc.videos(id) ON DELETE CASCADE;

alter table captionacc.events add constraint events_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES captionacc.tenants(id);

alter table captionacc.events add constraint events_video_id_fkey FOREIGN KEY (video_id) REFERENCES captionacc.videos(id) ON DELETE CASCADE;

alter table captionacc.stage_progress add constraint stage_progress_video_id_fkey FOREIGN KEY (video_id) REFERENCES captionacc.videos(id) ON DELETE CASCADE;

alter table captionacc.stage_progress add constraint stage_progress_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES captionacc.tenants(id);

CREATE UNIQUE INDEX jobs_open ON captionacc.jobs USING btree (video_id, type) WHERE (finished_at IS NULL);

CREATE INDEX jobs_active ON captionacc.jobs USING btree (tenant_id, created_at DESC, id) WHERE (finished_at IS NULL);

CREATE INDEX jobs_by_age ON captionacc.jobs USING btree (created_at DESC, id);

CREATE INDEX jobs_by_video ON captionacc.jobs USING btree (video_id, created_at DESC);

CREATE INDEX jobs_finished_at ON captionacc.jobs USING btree (finished_at) WHERE (finished_at IS NOT NULL);

CREATE INDEX events_by_tenant ON captionacc.events USING btree (tenant_id, transaction_id, id);

CREATE INDEX events_by_video ON captionacc.events USING btree (video_id);

CREATE INDEX events_by_time ON captionacc.events USING btree (occurred_at);

CREATE INDEX stage_progress_by_tenant ON captionacc.stage_progress USING btree (tenant_id, updated_at);

CREATE TRIGGER videos_notify_updated AFTER UPDATE ON captionacc.videos FOR EACH ROW WHEN ((((old.uploaded_at IS NULL) AND (new.uploaded_at IS NOT NULL)) OR ((old.layout_status <> 'wait'::text) AND (new.layout_status = 'wait'::text)) OR ((old.boundaries_status <> 'wait'::text) AND (new.boundaries_status = 'wait'::text)) OR (old.crop_region_version <> new.crop_region_version))) EXECUTE FUNCTION captionacc._notify_work();

CREATE TRIGGER videos_follow_inserted AFTER INSERT ON captionacc.videos FOR EACH ROW EXECUTE FUNCTION captionacc._follow_video();

CREATE TRIGGER videos_follow_updated AFTER UPDATE ON captionacc.videos FOR EACH ROW WHEN (((old.layout_status <> new.layout_status) OR (old.layout_run_id IS DISTINCT FROM new.layout_run_id) OR (old.boundaries_status <> new.boundaries_status) OR (old.boundaries_run_id IS DISTINCT FROM new.boundaries_run_id) OR (old.text_status <> new.text_status) OR (old.text_run_id IS DISTINCT FROM new.text_run_id) OR (old.display_path <> new.display_path) OR (old.uploaded_at IS DISTINCT FROM new.uploaded_at) OR (old.deleted_at IS DISTINCT FROM new.deleted_at))) EXECUTE FUNCTION captionacc._follow_video();

CREATE TRIGGER video_database_state_follow AFTER UPDATE ON captionacc.video_database_state FOR EACH ROW WHEN (((old.lock_token IS DISTINCT FROM new.lock_token) OR (old.server_version <> new.server_version))) EXECUTE FUNCTION captionacc._follow_database();

CREATE TRIGGER jobs_follow_inserted AFTER INSERT ON captionacc.jobs FOR EACH ROW EXECUTE FUNCTION captionacc._follow_job();

CREATE TRIGGER jobs_follow_updated AFTER UPDATE ON captionacc.jobs FOR EACH ROW WHEN (((old.state <> new.state) OR (old.run_id IS DISTINCT FROM new.run_id))) EXECUTE FUNCTION captionacc._follow_job();

create policy jobs_read on captionacc.jobs for select to authenticated
    using ((((tenant_id = ( SELECT captionacc.current_tenant_id() AS current_tenant_id)) AND (( SELECT captionacc.is_tenant_owner() AS is_tenant_owner) OR (EXISTS ( SELECT
   FROM captionacc.videos v
  WHERE ((v.id = jobs.video_id) AND (v.uploaded_by_user_id = ( SELECT auth.uid() AS uid))))))) OR ( SELECT captionacc.is_platform_admin() AS is_platform_admin)));

create policy events_read on captionacc.events for select to authenticated
    using ((((tenant_id = ( SELECT captionacc.current_tenant_id() AS current_tenant_id)) AND (( SELECT captionacc.is_tenant_owner() AS is_tenant_owner) OR (EXISTS ( SELECT
   FROM captionacc.videos v
  WHERE ((v.id = events.video_id) AND (v.uploaded_by_user_id = ( SELECT auth.uid() AS uid))))))) OR ( SELECT captionacc.is_platform_admin() AS is_platform_admin)));

create policy stage_progress_read on captionacc.stage_progress for select to authenticated
    using ((((tenant_id = ( SELECT captionacc.current_tenant_id() AS current_tenant_id)) AND (( SELECT captionacc.is_tenant_owner() AS is_tenant_owner) OR (EXISTS ( SELECT
   FROM captionacc.videos v
  WHERE ((v.id = stage_progress.video_id) AND (v.uploaded_by_user_id = ( SELECT auth.uid() AS uid))))))) OR ( SELECT captionacc.is_platform_admin() AS is_platform_admin)));

alter table captionacc.jobs enable row level security;

alter table captionacc.events enable row level security;

alter table captionacc.stage_progress enable row level security;

revoke execute on function captionacc._advance_jobs(captionacc.videos) from public;

revoke execute on function captionacc._follow_database() from public;

revoke execute on function captionacc._follow_job() from public;

revoke execute on function captionacc._follow_video() from public;

revoke execute on function captionacc._job_progress(text,text,integer) from public;

revoke execute on function captionacc._job_stages(text) from public;

revoke execute on function captionacc._not_taken(text,text) from public;

revoke execute on function captionacc._notify_event(uuid) from public;

revoke execute on function captionacc._record_event(uuid,uuid,text,jsonb) from public;

revoke execute on function captionacc._request_stage(uuid,text) from public;

revoke execute on function captionacc._with_lock(text,uuid,jsonb) from public;

revoke execute on function captionacc.app_bump_database_version(uuid) from public;

revoke execute on function captionacc.app_cancel_job(uuid) from public;

revoke execute on function captionacc.app_confirm_upload(uuid,bigint) from public;

revoke execute on function captionacc.app_create_job(uuid,text,jsonb,integer) from public;

revoke execute on function captionacc.app_delete_video(uuid) from public;

revoke execute on function captionacc.app_finish_export(uuid,jsonb,text) from public;

revoke execute on function captionacc.app_record_caption_count(uuid,integer) from public;

revoke execute on function captionacc.app_register_upload(uuid,text,bigint,text) from public;

revoke execute on function captionacc.app_release_lock(uuid) from public;

revoke execute on function captionacc.app_rename_video(uuid,text) from public;

revoke execute on function captionacc.app_renew_lock(uuid,double precision) from public;

revoke execute on function captionacc.app_set_age_boosting(uuid,boolean) from public;

revoke execute on function captionacc.app_take_lock(uuid,text,text,double precision,text) from public;

revoke execute on function captionacc.approve_layout_by_person(uuid,text,jsonb,boolean,jsonb) from public;

revoke execute on function captionacc.cancel_job(uuid,text) from public;

revoke execute on function captionacc.confirm_upload(uuid,bigint) from public;

revoke execute on function captionacc.create_job(uuid,text,jsonb,integer,text) from public;

revoke execute on function captionacc.events_after(text,timestamp with time zone,integer) from public;

revoke execute on function captionacc.events_cursor() from public;

revoke execute on function captionacc.finish_export(uuid,jsonb,text) from public;

revoke execute on function captionacc.held_locks(integer) from public;

revoke execute on function captionacc.purge_events(double precision) from public;

revoke execute on function captionacc.purge_jobs(double precision) from public;

revoke execute on function captionacc.register_upload(uuid,uuid,text,bigint,text,uuid) from public;

revoke execute on function captionacc.report_progress(uuid,text,text,integer,text,bigint,bigint) from public;

revoke execute on function captionacc.search_videos(text,uuid,integer) from public;

revoke execute on function captionacc.set_age_boosting(uuid,boolean) from public;

grant execute on function captionacc._check_claim(integer,double precision,integer) to authenticated;

grant execute on function captionacc._check_text(text,text) to authenticated;

grant execute on function captionacc.app_bump_database_version(uuid) to authenticated;

grant execute on function captionacc.app_cancel_job(uuid) to authenticated;

grant execute on function captionacc.app_confirm_upload(uuid,bigint) to authenticated;

grant execute on function captionacc.app_create_job(uuid,text,jsonb,integer) to authenticated;

grant execute on function captionacc.app_delete_video(uuid) to authenticated;

grant execute on function captionacc.app_finish_export(uuid,jsonb,text) to authenticated;

grant execute on function captionacc.app_record_caption_count(uuid,integer) to authenticated;

grant execute on function captionacc.app_register_upload(uuid,text,bigint,text) to authenticated;

grant execute on function captionacc.app_release_lock(uuid) to authenticated;

grant execute on function captionacc.app_rename_video(uuid,text) to authenticated;

grant execute on function captionacc.app_renew_lock(uuid,double precision) to authenticated;

grant execute on function captionacc.app_set_age_boosting(uuid,boolean) to authenticated;

grant execute on function captionacc.app_take_lock(uuid,text,text,double precision,text) to authenticated;

grant execute on function captionacc.clean_name(text) to authenticated;

grant execute on function captionacc.events_after(text,timestamp with time zone,integer) to authenticated;

grant execute on function captionacc.events_cursor() to authenticated;

grant execute on function captionacc.held_locks(integer) to authenticated;

grant execute on function captionacc.search_videos(text,uuid,integer) to authenticated;

grant select on table captionacc.events to authenticated;

grant select on table captionacc.jobs to authenticated;

grant select on table captionacc.stage_progress to authenticated;

comment on table captionacc.events is 'Changes of videos, their databases, locks and jobs, for the live events of the API; purged after hours.';

comment on table captionacc.jobs is 'Work on videos that people asked for, with its progress; finished jobs are purged by age.';

comment on table captionacc.stage_progress is 'Progress of the run that works on a stage, at most once a second; the row is removed when the run ends.';

comment on column captionacc.jobs.result is 'Result of an export: the format and the key of its file.';

comment on column captionacc.jobs.priority is 'Priority that an operator chose, which replaces that of the tenant''s tier; null: none.';

comment on column captionacc.jobs.run_id is 'Dagster''s run that works on the job, or worked on it last.';

comment on column captionacc.videos.priority_override is 'Priority of the video''s runs that an operator chose with a job; null: the tier''s.';
