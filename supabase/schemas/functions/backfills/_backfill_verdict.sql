create or replace function captionacc._backfill_verdict(
    p_item captionacc.backfill_videos, p_video captionacc.videos, p_model_version text,
    out status text, out detail text
)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    model text := _extents_model(p_video.id, p_video.current_cropped_frames_version);
    begun boolean := coalesce(p_video.boundaries_started_at >= p_item.asked_for_at, false);
begin
    detail := '';
    if p_video.deleted_at is not null then
        status := 'skipped';
        detail := 'the video was deleted';
    elsif p_video.boundaries_run_id is not null then
        null;
    elsif p_video.boundaries_status = 'error' then
        status := 'failed';
        detail := left(coalesce(p_video.boundaries_error_details ->> 'message', 'no message'), 1000);
    elsif p_video.boundaries_status = 'wait' then
        status := 'skipped';
        detail := 'its captions will be made again in any case';
    elsif model = p_model_version then
        status := case when begun then 'done' else 'skipped' end;
        detail := case when begun then '' else 'it is on ' || p_model_version || ' already' end;
    elsif begun and p_video.boundaries_finished_at >= p_item.asked_for_at then
        status := 'failed';
        detail := format('after the run it is on %s: the functions use another model than %s', model, p_model_version);
    end if;
end
$$;
comment on function captionacc._backfill_verdict(captionacc.backfill_videos, captionacc.videos, text) is
    'Return how a backfill''s video ended. The status is null while the video waits or a run works on it.';
