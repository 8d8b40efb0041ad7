create or replace function captionacc.record_times(
    p_video_id uuid,
    p_stage text,
    p_run_id text,
    p_frame_count bigint,
    p_duration_seconds double precision,
    p_time_spans jsonb default '[]'
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_owner(video, p_stage, p_run_id);
    if (p_frame_count >= 1 and p_duration_seconds between 0 and 1e7) is not true then
        raise exception '% frames in % s are not a valid length of a video', p_frame_count, p_duration_seconds
            using errcode = 'CA010';
    end if;
    if p_time_spans is null or jsonb_typeof(p_time_spans) <> 'array' or exists (
        select from jsonb_array_elements(p_time_spans) span
        where jsonb_typeof(span) <> 'array' or jsonb_array_length(span) <> 3
            or jsonb_typeof(span -> 0) <> 'number' or jsonb_typeof(span -> 1) <> 'number'
            or jsonb_typeof(span -> 2) <> 'boolean'
    ) then
        raise exception 'time spans are rows of first_index, offset_seconds and held' using errcode = 'CA010';
    end if;
    update videos set
        frame_count = p_frame_count, duration_seconds = p_duration_seconds, time_spans = p_time_spans
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.record_times(uuid, text, text, bigint, double precision, jsonb) is
    'Record a video''s length and time offsets, as the run that last read it measured them. CA002 if the '
    'run is not the stage''s worker.';
