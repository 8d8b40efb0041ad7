create trigger tenants_touch_updated_at before update on captionacc.tenants
    for each row execute function captionacc.touch_updated_at();
create trigger videos_touch_updated_at before update on captionacc.videos
    for each row execute function captionacc.touch_updated_at();
create trigger video_database_state_touch_updated_at before update on captionacc.video_database_state
    for each row execute function captionacc.touch_updated_at();
create trigger compute_calls_touch_updated_at before update on captionacc.compute_calls
    for each row execute function captionacc.touch_updated_at();
create trigger user_profiles_touch_updated_at before update on captionacc.user_profiles
    for each row execute function captionacc.touch_updated_at();
create trigger caption_ocr_requests_touch_updated_at before update on captionacc.caption_ocr_requests
    for each row execute function captionacc.touch_updated_at();

create trigger videos_accept_started before update of layout_run_id on captionacc.videos for each row
    when (new.layout_run_id is not null and new.accepted_at is null)
    execute function captionacc._accept_started_video();

create trigger videos_count_accepted after update on captionacc.videos
    referencing old table as before_statement new table as after_statement
    for each statement execute function captionacc._count_accepted();

create trigger videos_count_removed after delete on captionacc.videos for each row
    when (old.accepted_at is not null and old.deleted_at is null)
    execute function captionacc._count_removed();

create trigger videos_cancel_outdated_ocr_requests after update on captionacc.videos for each row
    when (old.crop_region_version <> new.crop_region_version
        or (old.deleted_at is null and new.deleted_at is not null))
    execute function captionacc._cancel_outdated_ocr_requests();

create trigger videos_notify_inserted after insert on captionacc.videos
    for each row execute function captionacc._notify_work();

create trigger videos_notify_updated after update on captionacc.videos for each row
    when (
        (old.uploaded_at is null and new.uploaded_at is not null)
        or (old.layout_status <> 'wait' and new.layout_status = 'wait')
        or (old.boundaries_status <> 'wait' and new.boundaries_status = 'wait')
        or old.crop_region_version <> new.crop_region_version
    )
    execute function captionacc._notify_work();

create trigger videos_record_outcomes after update on captionacc.videos for each row
    when (
        new.layout_finished_at is distinct from old.layout_finished_at
        or new.boundaries_finished_at is distinct from old.boundaries_finished_at
        or new.text_finished_at is distinct from old.text_finished_at
        or new.layout_error_details is distinct from old.layout_error_details
        or new.boundaries_error_details is distinct from old.boundaries_error_details
        or new.text_error_details is distinct from old.text_error_details
    )
    execute function captionacc._record_stage_outcomes();

create trigger videos_clean_display_path before insert or update of display_path on captionacc.videos
    for each row execute function captionacc._clean_display_path();

-- A trigger, not a constraint: rows older than the rule must still be processed and deleted.
create trigger videos_check_storage_key before insert or update of storage_key, tenant_id on captionacc.videos
    for each row execute function captionacc._check_new_storage_key();

create trigger caption_frame_extents_inference_runs_check_storage_key
    before insert or update of storage_key, tenant_id on captionacc.caption_frame_extents_inference_runs
    for each row execute function captionacc._check_new_storage_key();

create trigger videos_follow_inserted after insert on captionacc.videos
    for each row execute function captionacc._follow_video();

create trigger videos_follow_updated after update on captionacc.videos for each row
    when (
        old.layout_status <> new.layout_status or old.layout_run_id is distinct from new.layout_run_id
        or old.boundaries_status <> new.boundaries_status
        or old.boundaries_run_id is distinct from new.boundaries_run_id
        or old.text_status <> new.text_status or old.text_run_id is distinct from new.text_run_id
        or old.display_path <> new.display_path
        or old.uploaded_at is distinct from new.uploaded_at or old.deleted_at is distinct from new.deleted_at
    )
    execute function captionacc._follow_video();

create trigger video_database_state_follow after update on captionacc.video_database_state for each row
    when (
        old.lock_token is distinct from new.lock_token or old.server_version <> new.server_version
    )
    execute function captionacc._follow_database();

create trigger jobs_follow_inserted after insert on captionacc.jobs
    for each row execute function captionacc._follow_job();

create trigger jobs_follow_updated after update on captionacc.jobs for each row
    when (old.state <> new.state or old.run_id is distinct from new.run_id)
    execute function captionacc._follow_job();
