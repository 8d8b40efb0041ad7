create or replace function captionacc._extents_model(p_video_id uuid, p_version integer) returns text
language sql stable
set search_path = captionacc, pg_temp
as $$
    select model_version from caption_frame_extents_inference_runs
    where video_id = p_video_id and cropped_frames_version = p_version
    order by completed_at desc, created_at desc limit 1
$$;
comment on function captionacc._extents_model(uuid, integer) is
    'Return the model that last labelled a cropped-frames version: the one whose database is in the '
    'bucket.';
