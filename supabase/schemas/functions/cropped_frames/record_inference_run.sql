create or replace function captionacc.record_inference_run(
    p_video_id uuid,
    p_cropped_frames_version integer,
    p_run_id text,
    p_model_version text,
    p_storage_key text,
    p_total_pairs bigint,
    p_processing_time_seconds double precision,
    p_started_at timestamptz,
    p_completed_at timestamptz,
    p_model_sha256 text default null,
    p_file_size_bytes bigint default null
) returns uuid
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result uuid;
begin
    perform _locked_version(p_video_id, p_cropped_frames_version);
    insert into caption_frame_extents_inference_runs (
        video_id, cropped_frames_version, tenant_id, run_id, model_version, model_sha256, storage_key,
        file_size_bytes, total_pairs, processing_time_seconds, started_at, completed_at
    ) values (
        p_video_id, p_cropped_frames_version, video.tenant_id, p_run_id, p_model_version, p_model_sha256,
        p_storage_key, p_file_size_bytes, p_total_pairs, p_processing_time_seconds, p_started_at, p_completed_at
    )
    on conflict (video_id, cropped_frames_version, model_version) do update set
        run_id = excluded.run_id, model_sha256 = excluded.model_sha256, storage_key = excluded.storage_key,
        file_size_bytes = excluded.file_size_bytes, total_pairs = excluded.total_pairs,
        processing_time_seconds = excluded.processing_time_seconds,
        started_at = excluded.started_at, completed_at = excluded.completed_at
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_inference_run(
    uuid, integer, text, text, text, bigint, double precision, timestamptz, timestamptz, text, bigint
) is
    'Record which model labelled a cropped-frames version, replacing the row of the same model.';
