-- Durable calls of compute functions. A row is written before the backend is asked, so that whoever
-- asks for the same again finds the call that runs, or its result, instead of paying twice.
--
--   pending     written; the backend's id of the call is not known yet
--   running     the backend has it under call_id
--   succeeded   its result is here, to be taken by who asks the same, until it is settled
--   failed      the function failed, or its result is lost
--   cancelled   nobody wants it any more; cancel_delivered_at says when the backend was told
--
-- The waiter is a token of one attempt, made by it. Of two attempts that ask the same, the later one is
-- the waiter: only it may start the call, fail it and cancel it. Any of them may bring the result.

alter table captionacc.compute_calls
    add column waiter uuid,
    add column opened_at timestamptz not null default now(),
    add column attempts integer not null default 1 check (attempts >= 1),
    add column cropped_frames_version integer check (cropped_frames_version >= 1),
    add column usage jsonb check (jsonb_typeof(usage) = 'object'),
    add column finished_by uuid,
    add column settled_at timestamptz,
    add column cancel_delivered_at timestamptz,
    add constraint compute_calls_running check (status <> 'running' or call_id is not null),
    add constraint compute_calls_succeeded check (status <> 'succeeded' or result is not null),
    add constraint compute_calls_finished check ((status in ('pending', 'running')) = (finished_at is null));
comment on column captionacc.compute_calls.run_id is 'The run that waits for it, or waited last.';
comment on column captionacc.compute_calls.waiter is 'Token of the attempt that waits for it, or waited last.';
comment on column captionacc.compute_calls.opened_at is 'When the last attempt that may start it asked for it.';
comment on column captionacc.compute_calls.attempts is 'How many attempts asked for it; it is paid once.';
comment on column captionacc.compute_calls.cropped_frames_version is
    'The version that the call writes or reads; one version can have many calls, one a segment.';
comment on column captionacc.compute_calls.usage is
    'What the function says it used: gpu, seconds, cold_start_seconds. Null when it could not say.';
comment on column captionacc.compute_calls.finished_by is 'Waiter that brought the result.';
comment on column captionacc.compute_calls.settled_at is
    'When what was made of the result was published: asking the same again is a new call from then on.';
comment on column captionacc.compute_calls.cancel_delivered_at is
    'When the backend confirmed a cancellation; until then the call may still run.';

drop index captionacc.compute_calls_open;
create unique index compute_calls_open on captionacc.compute_calls (video_id, function_name, request_hash)
    where status in ('pending', 'running');
create index compute_calls_to_take on captionacc.compute_calls (video_id, function_name, request_hash)
    where status = 'succeeded' and settled_at is null;
create unique index compute_calls_by_call_id on captionacc.compute_calls (backend, call_id) where call_id is not null;
create index compute_calls_open_by_run on captionacc.compute_calls (run_id) where status in ('pending', 'running');
create index compute_calls_undelivered on captionacc.compute_calls (finished_at)
    where status = 'cancelled' and call_id is not null and cancel_delivered_at is null;

create function captionacc._locked_compute_call(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
begin
    select * into found from compute_calls where id = p_id for update;
    if found.id is null then
        raise exception 'compute call % is not in the catalogue', coalesce(p_id::text, 'null') using errcode = 'CA012';
    end if;
    return found;
end
$$;

create function captionacc.open_compute_call(
    p_video_id uuid,
    p_run_id text,
    p_function_name text,
    p_backend text,
    p_request_hash text,
    p_waiter uuid,
    p_cropped_frames_version integer default null,
    p_spawn_grace_seconds double precision default 30,
    p_life_seconds double precision default 86400
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- The lock makes one row of attempts that ask the same at the same moment.
    video videos := _locked_video(p_video_id);
    found compute_calls;
    result compute_calls;
begin
    perform _check_text(p_run_id, 'the run id');
    perform _check_text(p_function_name, 'the function''s name');
    perform _check_text(p_request_hash, 'the request''s hash');
    if p_waiter is null then
        raise exception 'the waiter is empty' using errcode = 'CA010';
    end if;
    if p_backend is null or p_backend not in ('local', 'modal') then
        raise exception 'backend % is not local or modal', coalesce(p_backend, 'null') using errcode = 'CA010';
    end if;
    if not coalesce(p_spawn_grace_seconds >= 0 and p_life_seconds > 0, false) then
        raise exception 'a grace of % s and a life of % s are not usable', p_spawn_grace_seconds, p_life_seconds
            using errcode = 'CA010';
    end if;
    if exists (select from run_cancellations where run_id = p_run_id) then
        raise exception 'run % was cancelled', p_run_id using errcode = 'CA002';
    end if;

    select * into found from compute_calls c
    where c.video_id = p_video_id and c.function_name = p_function_name and c.request_hash = p_request_hash
        and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
    -- An open one first: it was asked for after the result that was there.
    order by c.finished_at desc nulls first limit 1
    for update;
    if coalesce(found.finished_at, found.created_at)
        <= clock_timestamp() - make_interval(secs => p_life_seconds)
    then
        if found.status in ('pending', 'running') then
            update compute_calls
            set status = 'failed', finished_at = clock_timestamp(),
                error_details = _error_details('nobody waited for it in time', 'AbandonedError', run_id, attempts)
            where id = found.id;
        else
            update compute_calls set settled_at = clock_timestamp() where id = found.id;
        end if;
        found := null;
    end if;

    if found.id is null then
        insert into compute_calls (
            tenant_id, video_id, run_id, function_name, backend, request_hash, waiter, cropped_frames_version
        ) values (
            video.tenant_id, p_video_id, p_run_id, p_function_name, p_backend, p_request_hash, p_waiter,
            p_cropped_frames_version
        )
        returning * into result;
        return result;
    end if;
    if found.waiter = p_waiter then
        return found;
    end if;
    if found.status = 'pending'
        and found.opened_at > clock_timestamp() - make_interval(secs => p_spawn_grace_seconds)
    then
        return found;
    end if;
    update compute_calls
    set run_id = p_run_id, waiter = p_waiter, attempts = attempts + 1,
        opened_at = case when status = 'pending' then clock_timestamp() else opened_at end
    where id = found.id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.open_compute_call(uuid, text, text, text, text, uuid, integer, double precision,
    double precision) is
    'The call of this request: a new row (pending), the one that runs, or a result that was not settled yet. The '
    'caller is its waiter from then on, unless another waiter has been starting it for less than '
    'p_spawn_grace_seconds: then the row has that one''s token, and the caller asks again. Calls older than '
    'p_life_seconds are left alone. CA002 for a run that was cancelled.';

create function captionacc.assign_compute_call(p_id uuid, p_waiter uuid, p_call_id text)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    perform _check_text(p_call_id, 'the call id');
    if found.status = 'running' and found.call_id = p_call_id then
        return found;
    end if;
    if found.status <> 'pending' or found.waiter is distinct from p_waiter then
        raise exception 'compute call % is % and not this attempt''s to start', p_id, found.status
            using errcode = 'CA002';
    end if;
    update compute_calls set status = 'running', call_id = p_call_id, started_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.assign_compute_call(uuid, uuid, text) is
    'The backend''s id of a call that was started: pending to running. CA002 when another attempt starts it or '
    'nobody wants it any more; what was started is to be cancelled then.';

create function captionacc.finish_compute_call(p_id uuid, p_waiter uuid, p_result jsonb, p_usage jsonb default null)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status = 'succeeded' then
        return found;
    end if;
    if found.status <> 'running' then
        raise exception 'compute call % is %, so its result is not taken', p_id, found.status using errcode = 'CA002';
    end if;
    if p_result is null then
        raise exception 'the result of compute call % is empty', p_id using errcode = 'CA010';
    end if;
    update compute_calls
    set status = 'succeeded', result = p_result, usage = p_usage, finished_by = p_waiter,
        finished_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_compute_call(uuid, uuid, jsonb, jsonb) is
    'Running to succeeded, with the result. It is taken once: a later one changes nothing, and gets the row with '
    'the first. CA002 for a call that failed or was cancelled.';

create function captionacc.fail_compute_call(
    p_id uuid, p_waiter uuid, p_message text, p_error_type text default '', p_usage jsonb default null
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or found.waiter is distinct from p_waiter then
        return found;
    end if;
    update compute_calls
    set status = 'failed', finished_at = clock_timestamp(), usage = p_usage,
        error_details = _error_details(p_message, p_error_type, run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_compute_call(uuid, uuid, text, text, jsonb) is
    'Open to failed, for its waiter; the same request is a new call from then on. Nothing changes otherwise.';

create function captionacc.cancel_compute_call(p_id uuid, p_waiter uuid default null, p_message text default '')
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or (p_waiter is not null and found.waiter is distinct from p_waiter)
    then
        return found;
    end if;
    update compute_calls
    set status = 'cancelled', finished_at = clock_timestamp(),
        error_details = _error_details(p_message, 'CancelledError', run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.cancel_compute_call(uuid, uuid, text) is
    'Open to cancelled. With a waiter only when it is the call''s: another attempt may want the result by now. '
    'The backend is told after that, and confirm_compute_call_cancelled says so.';

create function captionacc.confirm_compute_call_cancelled(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status <> 'cancelled' then
        raise exception 'compute call % is %, not cancelled', p_id, found.status using errcode = 'CA002';
    end if;
    update compute_calls set cancel_delivered_at = coalesce(cancel_delivered_at, clock_timestamp())
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.confirm_compute_call_cancelled(uuid) is
    'The backend has stopped a cancelled call. CA002 for one that is not cancelled.';

create function captionacc.settle_compute_calls(p_video_id uuid, p_run_id text) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update compute_calls set settled_at = clock_timestamp()
    where video_id = p_video_id and run_id = p_run_id and status = 'succeeded' and settled_at is null;
    return (
        select count(*) from compute_calls
        where video_id = p_video_id and run_id = p_run_id and settled_at is not null
    );
end
$$;
comment on function captionacc.settle_compute_calls(uuid, text) is
    'What a run made of its calls is published: asking the same again computes anew. Gives how many are settled.';

-- ---------------------------------------------------------------------------------------------
-- A version of cropped frames outlives the attempt that allotted it

create or replace function captionacc.allot_cropped_frames_version(p_video_id uuid, p_run_id text, p_crop_region jsonb)
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
    update cropped_frames_versions v set run_id = p_run_id
    where v.video_id = p_video_id and v.status = 'processing'
        and v.crop_region_version = video.crop_region_version and v.crop_region::jsonb = p_crop_region
        and exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.cropped_frames_version = v.version
                and c.function_name = 'crop_and_infer_caption_frame_extents'
                and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
        )
    returning v.version into allotted;
    if allotted is not null then
        return allotted;
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
    'A version number for the run that works on the boundaries: the one that an earlier attempt at the same crop '
    'region left while calls for it run or have results that nobody took, else a number that was never used. '
    'Another version that was left unfinished is marked failed.';

drop function captionacc.fail_cropped_frames_version(uuid, integer, text);
create function captionacc.fail_cropped_frames_version(
    p_video_id uuid, p_version integer, p_message text, p_run_id text default null
) returns captionacc.cropped_frames_versions
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
    if found.status = 'failed' or (p_run_id is not null and found.run_id <> p_run_id) then
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
comment on function captionacc.fail_cropped_frames_version(uuid, integer, text, text) is
    'The version will not be finished; its objects may be removed. With a run, nothing changes when another run '
    'has taken the version over.';

revoke execute on all functions in schema captionacc from public;
