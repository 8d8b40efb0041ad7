create or replace function captionacc._backfill_candidates(p_model_version text, p_conditions jsonb, p_limit integer)
returns table (
    video_id uuid, tenant_id uuid, display_path text, extents_model text, reason text, place bigint
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    with matching as (
        select v.id, v.tenant_id, v.display_path, v.uploaded_at, v.boundaries_status, v.boundaries_run_id,
            v.text_run_id, v.current_cropped_frames_version, i.model_version as extents_model,
            (v.boundaries_status = 'done' or v.text_status = 'done') as is_reviewed
        from videos v
        -- As in _extents_model, for all videos at once.
        left join (
            select distinct on (video_id, cropped_frames_version) video_id, cropped_frames_version, model_version
            from caption_frame_extents_inference_runs
            order by video_id, cropped_frames_version, completed_at desc, created_at desc
        ) i on i.video_id = v.id and i.cropped_frames_version = v.current_cropped_frames_version
        where v.deleted_at is null
            and (not p_conditions ? 'tenant' or v.tenant_id in (
                select t::uuid from jsonb_array_elements_text(p_conditions -> 'tenant') t))
            and (not p_conditions ? 'video' or v.id in (
                select t::uuid from jsonb_array_elements_text(p_conditions -> 'video') t))
            and (not p_conditions ? 'uploaded_before' or v.uploaded_at < (
                select min(t::timestamptz) from jsonb_array_elements_text(p_conditions -> 'uploaded_before') t))
            and (not p_conditions ? 'uploaded_after' or v.uploaded_at >= (
                select max(t::timestamptz) from jsonb_array_elements_text(p_conditions -> 'uploaded_after') t))
    ), judged as (
        select m.*, case
            when m.boundaries_status = 'error' then 'failed'
            when m.boundaries_status = 'wait' or m.current_cropped_frames_version is null then 'not processed yet'
            when m.extents_model = p_model_version then 'on this model'
            when exists (select from backfill_videos b where b.video_id = m.id and b.status = 'queued')
                then 'in a backfill'
            when m.boundaries_run_id is not null or m.text_run_id is not null then 'in work'
            when m.is_reviewed and not p_conditions ? 'status' then 'reviewed'
        end as reason
        from matching m
        where (not p_conditions ? 'model_version' or p_conditions -> 'model_version' ? m.extents_model)
            and (not p_conditions ? 'status' or (
                m.boundaries_status in ('annotate', 'done')
                and p_conditions -> 'status' ? case when m.is_reviewed then 'reviewed' else 'ready' end
            ))
    ), placed as (
        select j.*, case when j.reason is null then
            row_number() over (partition by j.reason is null order by j.uploaded_at desc, j.id) end as place
        from judged j
    )
    select p.id, p.tenant_id, p.display_path, p.extents_model,
        case when p.place > p_limit then 'beyond the limit' else p.reason end, p.place
    from placed p
$$;
comment on function captionacc._backfill_candidates(text, jsonb, integer) is
    'Return the videos that match the conditions, each with its current model and the reason why it is '
    'not selected; a null reason means that it is selected.';
