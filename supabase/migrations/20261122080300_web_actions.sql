-- What people do through the web app, over Supabase's own API: POST /rest/v1/rpc/app_….
--
-- Each gives {"ok": true, "video": …} or {"ok": false, "code", "message", "hint", "details"}. A refusal does
-- not raise: that would roll its row of the audit log back. It sets response.status instead, from which
-- PostgREST takes the HTTP status, so that a client sees an error like any other and the row stays.

create function captionacc._refused(
    p_action text, p_video_id uuid, p_code text, p_message text, p_hint text, p_reason text
) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _audit(p_action, 'refused', p_reason, p_video_id, jsonb_build_object('code', p_code));
    perform set_config('response.status', case p_code
        when 'CA011' then '403' when 'CA001' then '404' when 'CA012' then '404'
        when 'CA003' then '400' when 'CA010' then '400' else '409' end, true);
    return jsonb_build_object(
        'ok', false, 'code', p_code, 'message', p_message, 'hint', nullif(p_hint, ''), 'details', null);
end
$$;

create function captionacc._refused_caller(p_action text, p_video_id uuid) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    video videos;
    reason text;
begin
    select * into caller from user_profiles where user_id = auth.uid();
    select * into video from videos where id = p_video_id;
    if auth.uid() is null then
        return _refused(p_action, p_video_id, 'CA011', 'this needs a user who is signed in', '', 'not_signed_in');
    elsif caller.approval_status is distinct from 'approved' then
        return _refused(p_action, p_video_id, 'CA011', 'your account is not approved',
            'An owner or an admin has to approve it.', 'not_approved');
    elsif caller.is_platform_admin and video.id is not null then
        return null;
    end if;
    reason := case
        when video.id is null then 'unknown_video'
        when video.tenant_id <> caller.tenant_id then 'other_tenant'
        when caller.role <> 'owner' and video.uploaded_by_user_id is distinct from caller.user_id then 'other_member'
    end;
    if reason is not null then
        -- One answer for all: who may not see a video is not told whether it is there.
        return _refused(p_action, p_video_id, 'CA011', format('video %s is not there, or not yours', p_video_id),
            '', reason);
    end if;
    return null;
end
$$;
comment on function captionacc._refused_caller(text, uuid) is
    'Null when the user of the request may act on the video; otherwise the refusal, which is on record.';

create function captionacc._act(p_action text, p_video_id uuid, p_arguments jsonb) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := _refused_caller(p_action, p_video_id);
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

create function captionacc.app_approve_layout(
    p_video_id uuid, p_crop_region jsonb default null, p_disable_age_boosting boolean default false
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('approve_layout', p_video_id,
        jsonb_build_object('crop_region', p_crop_region, 'disable_age_boosting', p_disable_age_boosting))
$$;
comment on function captionacc.app_approve_layout(uuid, jsonb, boolean) is
    'Accept a crop region (null: the proposed one). With p_disable_age_boosting the runs that follow earn no '
    'priority by waiting.';

create function captionacc.app_request_caption_ocr(p_video_id uuid, p_caption_ids bigint[] default null)
returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('request_caption_ocr', p_video_id, jsonb_build_object('caption_ids', p_caption_ids))
$$;
comment on function captionacc.app_request_caption_ocr(uuid, bigint[]) is
    'Have the text of some captions, or of all (null), read anew; the request is in the answer.';

create function captionacc.app_complete_review(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('complete_review', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_complete_review(uuid, text) is 'The review of boundaries or text is done.';

create function captionacc.app_retry(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('retry', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_retry(uuid, text) is 'Ask again for a stage that ended in an error.';

create function captionacc.app_cancel(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('cancel', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_cancel(uuid, text) is 'Stop what works on, or waits for, a stage.';

create function captionacc.app_acknowledge_rejection(p_rejection_id uuid) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    rejection caption_frame_extents_inference_rejections;
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
    rejection := acknowledge_rejection(p_rejection_id, caller.user_id::text);
    perform _audit('acknowledge_rejection', 'allowed', '', rejection.video_id,
        jsonb_build_object('rejection_id', p_rejection_id));
    return jsonb_build_object('ok', true, 'rejection', to_jsonb(rejection));
end
$$;
comment on function captionacc.app_acknowledge_rejection(uuid) is 'The user has taken note of a rejection.';

revoke execute on all functions in schema captionacc from public;
grant execute on function
    captionacc.app_approve_layout(uuid, jsonb, boolean),
    captionacc.app_request_caption_ocr(uuid, bigint[]),
    captionacc.app_complete_review(uuid, text),
    captionacc.app_retry(uuid, text),
    captionacc.app_cancel(uuid, text),
    captionacc.app_acknowledge_rejection(uuid)
to authenticated;
