create or replace function captionacc._approve_layout(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb, p_caption_zones jsonb
)
returns captionacc.videos
language sql
set search_path = captionacc, pg_temp
as $$
    update videos set
        layout_status = 'done', layout_error_details = null,
        layout_approved_at = clock_timestamp(), layout_approved_by = p_approved_by,
        crop_region = p_crop_region::crop_region, caption_zones = p_caption_zones,
        crop_region_version = crop_region_version + 1,
        boundaries_status = 'wait', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_requested_at = null, boundaries_unstarted_requests = 0, boundaries_note = '',
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = null, text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning *
$$;
