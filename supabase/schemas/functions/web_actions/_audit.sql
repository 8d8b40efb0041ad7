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
        -- Ten thousand caption ids take about 100 kB.
        case when octet_length(p_details::text) <= 4000 then p_details
            else jsonb_build_object('left_out_bytes', octet_length(p_details::text)) end
    )
$$;
