create or replace function captionacc.end_backfill_video(p_backfill_id uuid, p_video_id uuid, p_message text) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update backfill_videos
    set status = 'failed', detail = left(coalesce(nullif(p_message, ''), 'no message'), 1000),
        finished_at = clock_timestamp()
    where backfill_id = p_backfill_id and video_id = p_video_id and status = 'queued' and requested_at is not null;
    return found;
end
$$;
comment on function captionacc.end_backfill_video(uuid, uuid, text) is
    'Record that the run for a backfill''s video failed or was cancelled. Returns false if the video has '
    'already ended or was not handed out.';
