-- What one user can make grow has a bound, and what has ended is purged by age. Further SQLSTATE:
--   CA013 too many calls within a time
--
-- A user's refusals are on record up to 60 an hour and 300 a day; beyond that the answer is 429 and nothing is
-- written. Actions that are allowed are up to 600 an hour, and of a user's requests for text 100 may wait.

create index security_audit_log_by_user on captionacc.security_audit_log (
    (coalesce(user_id, '00000000-0000-0000-0000-000000000000')), outcome, occurred_at desc
);

create function captionacc._calls_left(p_outcome text) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    caller uuid := coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
    an_hour bigint := case p_outcome when 'refused' then 60 else 600 end;
    a_day bigint := case p_outcome when 'refused' then 300 else 14400 end;
    now timestamptz := clock_timestamp();
    in_hour bigint;
    in_day bigint;
begin
    -- One call of a user at a time, so that a hundred at once do not all find the same number.
    perform pg_advisory_xact_lock(hashtextextended('calls of ' || caller, 0));
    select count(*) filter (where occurred_at > now - interval '1 hour'), count(*) into in_hour, in_day
    from (
        select occurred_at from security_audit_log
        where coalesce(user_id, '00000000-0000-0000-0000-000000000000') = caller and outcome = p_outcome
            and occurred_at > now - interval '1 day'
        order by occurred_at desc limit a_day
    ) lately;
    return least(an_hour - in_hour, a_day - in_day);
end
$$;
comment on function captionacc._calls_left(text) is
    'How many more calls of the user of the request may be refused, or allowed, at this time.';

create function captionacc._too_many(p_message text, p_hint text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform set_config('response.status', '429', true);
    return jsonb_build_object('ok', false, 'code', 'CA013', 'message', p_message, 'hint', p_hint, 'details', null);
end
$$;

create or replace function captionacc._audit(
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
        -- Ten thousand caption ids are a hundred kilobytes.
        case when octet_length(p_details::text) <= 4000 then p_details
            else jsonb_build_object('left_out_bytes', octet_length(p_details::text)) end
    )
$$;

create or replace function captionacc._refused(
    p_action text, p_video_id uuid, p_code text, p_message text, p_hint text, p_reason text
) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    left_over bigint := _calls_left('refused');
begin
    if left_over <= 0 then
        return _too_many('too many of your calls were refused lately', 'Try again in an hour.');
    end if;
    perform _audit(p_action, 'refused', p_reason, p_video_id, jsonb_build_object('code', p_code)
        || case when left_over = 1 then '{"further_refusals": "not recorded for now"}' else '{}' end::jsonb);
    perform set_config('response.status', case p_code
        when 'CA011' then '403' when 'CA001' then '404' when 'CA012' then '404'
        when 'CA003' then '400' when 'CA010' then '400' else '409' end, true);
    return jsonb_build_object(
        'ok', false, 'code', p_code, 'message', p_message, 'hint', nullif(p_hint, ''), 'details', null);
end
$$;

create function captionacc._over_limit(p_action text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if _calls_left('allowed') <= 0 then
        return _too_many('600 of your actions were done within an hour', 'Try again later.');
    elsif p_action = 'request_caption_ocr' and (
        select count(*) from caption_ocr_requests where status = 'queued' and requested_by = auth.uid()::text
    ) >= 100 then
        return _too_many('100 of your requests for text wait already', 'Wait for some of them to be done.');
    end if;
    return null;
end
$$;
comment on function captionacc._over_limit(text) is
    'Null when the user of the request may act once more; otherwise the answer; nothing is recorded.';

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
                video := approve_layout(p_video_id, caller, nullif(p_arguments -> 'crop_region', 'null'));
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
        end case;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused(p_action, p_video_id, sqlstate, reason, hint, 'refused_by_state');
    end;
    perform _audit(p_action, 'allowed', '', p_video_id, p_arguments);
    if video.id is null then
        select * into video from videos where id = p_video_id;
    end if;
    return jsonb_build_object('ok', true, 'video', to_jsonb(video)) || coalesce(answer, '{}');
end
$$;

create or replace function captionacc.app_acknowledge_rejection(p_rejection_id uuid) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    rejection caption_frame_extents_inference_rejections;
    answer jsonb;
begin
    select * into caller from user_profiles where user_id = auth.uid() and approval_status = 'approved';
    select * into rejection from caption_frame_extents_inference_rejections where id = p_rejection_id;
    if caller.user_id is null or rejection.id is null or not (
        caller.is_platform_admin
        or (rejection.tenant_id = caller.tenant_id and (caller.role = 'owner' or exists (
            select from videos where id = rejection.video_id and uploaded_by_user_id = caller.user_id)))
    ) then
        return _refused('acknowledge_rejection', rejection.video_id, 'CA011',
            format('rejection %s is not there, or not yours', p_rejection_id), '',
            case when caller.user_id is null then 'not_approved' when rejection.id is null then 'unknown_rejection'
                when rejection.tenant_id <> caller.tenant_id then 'other_tenant' else 'other_member' end);
    end if;
    answer := _over_limit('acknowledge_rejection');
    if answer is not null then
        return answer;
    end if;
    rejection := acknowledge_rejection(p_rejection_id, caller.user_id::text);
    perform _audit('acknowledge_rejection', 'allowed', '', rejection.video_id,
        jsonb_build_object('rejection_id', p_rejection_id));
    return jsonb_build_object('ok', true, 'rejection', to_jsonb(rejection));
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Retention

create function captionacc.purge_audit_log(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint;
begin
    -- Whoever holds the service's key must not be able to blot out what they just did.
    if not coalesce(p_older_than_seconds between 2592000 and 3e9, false) then
        raise exception 'the audit log of the last 30 days is not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from security_audit_log where occurred_at < before);
    end if;
    delete from security_audit_log where occurred_at < before;
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_audit_log(double precision, boolean) is
    'Remove old rows of the audit log, or in a dry run only count them. At least 30 days stay.';

create index security_audit_log_by_time on captionacc.security_audit_log (occurred_at);

create function captionacc.purge_requests(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint := 0;
    one bigint;
begin
    if not coalesce(p_older_than_seconds between 86400 and 3e9, false) then
        raise exception 'requests of the last day are not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from caption_ocr_requests where finished_at < before)
            + (select count(*) from run_cancellations where handled_at < before)
            + (select count(*) from caption_frame_extents_inference_rejections where acknowledged_at < before);
    end if;
    delete from caption_ocr_requests where finished_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    -- Its run has long ended, so nothing of it can come any more.
    delete from run_cancellations where handled_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    delete from caption_frame_extents_inference_rejections where acknowledged_at < before;
    get diagnostics one = row_count;
    return removed + one;
end
$$;
comment on function captionacc.purge_requests(double precision, boolean) is
    'Remove requests for text that ended, run cancellations that were carried out and rejections that somebody took '
    'note of, longer ago than that; in a dry run only count them.';

revoke execute on all functions in schema captionacc from public;
