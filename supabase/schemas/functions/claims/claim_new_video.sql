create or replace function captionacc.claim_new_video(p_video_id uuid, p_restart_after_seconds double precision default 3600)
returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    picked uuid;
begin
    perform _check_claim(1, p_restart_after_seconds, 1);
    select id into picked from videos
    where id = p_video_id and layout_status = 'wait' and layout_run_id is null and uploaded_at is not null
        and deleted_at is null
        and (layout_requested_at is null
            or layout_requested_at < clock_timestamp() - make_interval(secs => p_restart_after_seconds))
    for update skip locked;
    if picked is not null then
        return query select * from _accept_layouts(array[picked]);
    end if;
end
$$;
comment on function captionacc.claim_new_video(uuid, double precision) is
    'Claim one video, as claim_new_videos does. No row if it cannot be claimed.';
