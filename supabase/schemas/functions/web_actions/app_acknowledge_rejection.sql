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
            format('rejection %s does not exist or is not yours', p_rejection_id), '',
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
comment on function captionacc.app_acknowledge_rejection(uuid) is 'Acknowledge a rejection.';
