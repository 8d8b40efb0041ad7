create or replace function captionacc.request_backfill(
    p_backfill_id uuid, p_model_version text, p_conditions jsonb, p_requested_by text,
    p_limit integer default null, p_dry_run boolean default true
) returns table (backfill_id uuid, chosen bigint, skipped jsonb, former_models jsonb, sample jsonb)
language plpgsql
set search_path = captionacc, pg_temp
as $$
#variable_conflict use_column
begin
    perform _check_backfill(p_model_version, p_conditions, p_limit);
    perform _check_text(p_requested_by, 'who asks for the backfill');
    if not p_dry_run and not exists (select from backfills where id = p_backfill_id) then
        with candidates as materialized (
            select * from _backfill_candidates(p_model_version, p_conditions, p_limit)
        ), made as (
            insert into backfills (id, model_version, conditions, requested_by, skipped)
            select p_backfill_id, p_model_version, p_conditions, p_requested_by, (
                select coalesce(jsonb_object_agg(reason, number), '{}') from (
                    select reason, count(*) as number from candidates where reason is not null group by reason
                ) counted)
            where exists (select from candidates where reason is null)
        )
        insert into backfill_videos (backfill_id, video_id, tenant_id, turn, former_model_version)
        select p_backfill_id, c.video_id, c.tenant_id,
            row_number() over (partition by c.tenant_id order by c.place), c.extents_model
        from candidates c where c.reason is null
        -- A concurrent request may have selected the same video.
        on conflict (video_id) where status = 'queued' do nothing;
    end if;
    if not p_dry_run and exists (select from backfills where id = p_backfill_id) then
        return query select f.id, (select count(*) from backfill_videos b where b.backfill_id = f.id), f.skipped,
            (select coalesce(jsonb_object_agg(model, number), '{}') from (
                select coalesce(b.former_model_version, '') as model, count(*) as number
                from backfill_videos b where b.backfill_id = f.id group by b.former_model_version
            ) models),
            (select coalesce(jsonb_agg(jsonb_build_object('video_id', s.video_id, 'tenant_id', s.tenant_id,
                'display_path', s.display_path, 'model_version', s.former_model_version)
                order by s.uploaded_at desc, s.video_id), '[]')
            from (
                select b.*, v.display_path, v.uploaded_at from backfill_videos b join videos v on v.id = b.video_id
                where b.backfill_id = f.id order by v.uploaded_at desc, b.video_id limit 10
            ) s)
        from backfills f where f.id = p_backfill_id;
        return;
    end if;
    return query
        with candidates as materialized (
            select * from _backfill_candidates(p_model_version, p_conditions, p_limit)
        )
        select null::uuid, (select count(*) from candidates where reason is null),
            (select coalesce(jsonb_object_agg(reason, number), '{}') from (
                select reason, count(*) as number from candidates where reason is not null group by reason
            ) counted),
            (select coalesce(jsonb_object_agg(model, number), '{}') from (
                select coalesce(extents_model, '') as model, count(*) as number
                from candidates where reason is null group by extents_model
            ) models),
            (select coalesce(jsonb_agg(jsonb_build_object('video_id', s.video_id, 'tenant_id', s.tenant_id,
                'display_path', s.display_path, 'model_version', s.extents_model) order by s.place), '[]')
            from (select * from candidates where reason is null order by place limit 10) s);
end
$$;
comment on function captionacc.request_backfill(uuid, text, jsonb, text, integer, boolean) is
    'Request an extents model for at most p_limit finished videos, newest first. p_conditions maps names '
    'to lists of texts; a video matches if, for each name, one of the texts applies: tenant, video (ids), '
    'model_version (current model), status (ready, reviewed; without it reviewed videos are left out), '
    'uploaded_before, uploaded_after. Videos are skipped if they are already on the model, being worked '
    'on, in another backfill, failed or not yet processed. A dry run writes nothing. Repeating a '
    'p_backfill_id returns the existing backfill.';
