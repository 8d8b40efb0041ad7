create or replace function captionacc.open_compute_call(
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
    -- With the lock, concurrent attempts with the same request share one row.
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
    -- An open call first: it was requested after the older result.
    order by c.finished_at desc nulls first limit 1
    for update;
    if coalesce(found.finished_at, found.created_at)
        <= clock_timestamp() - make_interval(secs => p_life_seconds)
    then
        if found.status in ('pending', 'running') then
            update compute_calls
            set status = 'failed', finished_at = clock_timestamp(),
                error_details = _error_details('no attempt waited for it in time', 'AbandonedError', run_id, attempts)
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
comment on function captionacc.open_compute_call(
    uuid, text, text, text, text, uuid, integer, double precision, double precision
) is
    'Return the call for a request: a new row (pending), a running call, or a result that is not settled '
    'yet. The caller becomes its waiter, unless another waiter began to start the call less than '
    'p_spawn_grace_seconds ago: the row then has the other waiter''s token, and the caller asks again '
    'later. Calls older than p_life_seconds are not reused. CA002 if the run was cancelled.';
