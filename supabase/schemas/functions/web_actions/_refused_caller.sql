create or replace function captionacc._refused_caller(p_action text, p_video_id uuid) returns jsonb
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
        return _refused(p_action, p_video_id, 'CA011', 'this action needs a signed-in user', '', 'not_signed_in');
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
        -- One answer for all reasons: a user who may not see a video does not learn whether it exists.
        return _refused(p_action, p_video_id, 'CA011', format('video %s does not exist or is not yours', p_video_id),
            '', reason);
    end if;
    return null;
end
$$;
comment on function captionacc._refused_caller(text, uuid) is
    'Return null if the request''s user may act on the video, otherwise the recorded refusal.';
