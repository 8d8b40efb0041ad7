create or replace function captionacc.soft_delete_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    select * into video from videos where id = p_video_id for update;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif video.deleted_at is not null then
        return video;
    end if;
    -- Running work is cancelled: its result is not needed, and GPUs cost money.
    insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
    select owner, video.tenant_id, video.id, stage, 'the video''s deletion'
    from (values (video.layout_run_id, 'layout'), (video.boundaries_run_id, 'boundaries'),
        (video.text_run_id, 'text')) work (owner, stage)
    where owner is not null
    on conflict (run_id) do nothing;
    update videos
    set deleted_at = clock_timestamp(), layout_run_id = null, boundaries_run_id = null, text_run_id = null
    where id = p_video_id
    returning * into result;
    perform _audit('delete_video', 'allowed', '', p_video_id, jsonb_build_object('name', video.display_path));
    return result;
end
$$;
comment on function captionacc.soft_delete_video(uuid) is
    'Exclude a video from all processing. Runs that work on it are refused when they finish and are to be '
    'ended. Audited.';
