create or replace function captionacc._adopt_version(
    p_tenant_id uuid, p_video_id uuid, p_crop_region jsonb, p_version jsonb
) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    adopted integer := (p_version ->> 'version')::integer;
begin
    insert into cropped_frames_versions (
        video_id, version, tenant_id, run_id, crop_region, crop_region_version, status, chunk_count,
        total_frames, total_size_bytes, activated_at
    ) values (
        p_video_id, adopted, p_tenant_id, 'adopted', p_crop_region::crop_region, 1, 'active',
        (p_version ->> 'chunk_count')::integer, (p_version ->> 'total_frames')::bigint,
        (p_version ->> 'total_size_bytes')::bigint, clock_timestamp()
    );
    insert into caption_frame_extents_inference_runs (
        video_id, cropped_frames_version, tenant_id, run_id, model_version, storage_key, total_pairs,
        processing_time_seconds, started_at, completed_at
    ) values (
        p_video_id, adopted, p_tenant_id, p_version ->> 'run_id', p_version ->> 'model_version',
        p_version ->> 'storage_key', (p_version ->> 'total_frames')::bigint - 1,
        (p_version ->> 'processing_time_seconds')::double precision,
        (p_version ->> 'started_at')::timestamptz,
        greatest((p_version ->> 'started_at')::timestamptz, (p_version ->> 'completed_at')::timestamptz)
    );
end
$$;
comment on function captionacc._adopt_version(uuid, uuid, jsonb, jsonb) is
    'Register the predecessor''s chunks and pair labels as the video''s active version.';
