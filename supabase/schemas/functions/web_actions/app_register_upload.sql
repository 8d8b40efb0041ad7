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
        -- Any other key may be that of a result, or of another member's file.
        if p_storage_key is distinct from format('%s/client/videos/%s/video.mp4', caller.tenant_id, p_video_id) then
            raise exception 'the storage key is not that of video %', p_video_id using errcode = 'CA010',
                hint = 'Give TENANT/client/videos/ID/video.mp4.';
        end if;
        video := register_upload(caller.tenant_id, p_video_id, p_storage_key, p_size_bytes, p_display_path,
            caller.user_id);
        if video.uploaded_by_user_id is distinct from caller.user_id then
            raise exception 'video % is already registered with other values', p_video_id using errcode = 'CA008';
        end if;
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
    'Register a file that the user is about to upload into their tenant, as register_upload does. The key is '
    'that of the video: TENANT/client/videos/ID/video.mp4.';
