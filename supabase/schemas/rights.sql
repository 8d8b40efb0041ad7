-- Who may read and call what, beyond the default privileges of the service role (schema.sql).

grant select on
    captionacc.access_tiers,
    captionacc.adoptions,
    captionacc.backfill_videos,
    captionacc.backfills,
    captionacc.caption_frame_extents_inference_rejections,
    captionacc.caption_frame_extents_inference_runs,
    captionacc.caption_ocr_requests,
    captionacc.compute_calls,
    captionacc.cost_reservations,
    captionacc.cropped_frames_versions,
    captionacc.events,
    captionacc.jobs,
    captionacc.run_cancellations,
    captionacc.security_audit_log,
    captionacc.stage_outcomes,
    captionacc.stage_progress,
    captionacc.tenants,
    captionacc.usage_metrics,
    captionacc.user_profiles,
    captionacc.videos
to authenticated;
-- All columns but the token, with which anyone could renew and release the lock.
grant select (
    video_id, database_name, tenant_id, server_version, lock_owner, lock_type, locked_at, lock_expires_at,
    created_at, updated_at
) on captionacc.video_database_state to authenticated;
grant select on captionacc.demo_videos, captionacc.demo_cropped_frames_versions to anon, authenticated;

-- Rows are only added; purge_audit_log deletes old ones with its owner's rights.
revoke update, delete, truncate on captionacc.security_audit_log from service_role;

revoke execute on all functions in schema captionacc from public;
-- The policies call these with the reader's rights.
grant execute on function
    captionacc.current_tenant_id(),
    captionacc.is_tenant_owner(),
    captionacc.is_platform_admin()
to anon, authenticated;
grant execute on function
    captionacc.app_approve_layout(uuid, jsonb, boolean, jsonb),
    captionacc.app_request_caption_ocr(uuid, bigint[]),
    captionacc.app_complete_review(uuid, text),
    captionacc.app_retry(uuid, text),
    captionacc.app_cancel(uuid, text),
    captionacc.app_acknowledge_rejection(uuid),
    captionacc.app_register_upload(uuid, text, bigint, text),
    captionacc.app_confirm_upload(uuid, bigint),
    captionacc.app_set_age_boosting(uuid, boolean),
    captionacc.app_rename_video(uuid, text),
    captionacc.app_delete_video(uuid),
    captionacc.app_create_job(uuid, text, jsonb, integer),
    captionacc.app_cancel_job(uuid),
    captionacc.app_finish_export(uuid, jsonb, text),
    captionacc.app_take_lock(uuid, text, text, double precision, text),
    captionacc.app_renew_lock(uuid, double precision),
    captionacc.app_release_lock(uuid),
    captionacc.app_bump_database_version(uuid),
    captionacc.app_record_caption_count(uuid, integer)
to authenticated;
-- These read with the caller's rights. They call two of the checks, which read nothing.
grant execute on function
    captionacc.events_cursor(text),
    captionacc.events_after(text, timestamptz, integer),
    captionacc.held_locks(integer),
    captionacc.search_videos(text, uuid, integer),
    captionacc.clean_name(text),
    captionacc._check_text(text, text),
    captionacc._check_claim(integer, double precision, integer)
to authenticated;
