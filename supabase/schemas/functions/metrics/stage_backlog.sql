create or replace function captionacc.stage_backlog()
returns table (
    stage text, tier text, waiting bigint, oldest_waiting_at timestamptz, running bigint,
    oldest_running_at timestamptz
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    with work as (
        -- Each of the three has its own partial index. After a failure the waiting time starts again.
        select tenant_id, 'layout' as stage, greatest(uploaded_at, layout_finished_at) as waiting_since,
            null::timestamptz as running_since
        from videos
        where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null and deleted_at is null
        union all
        select tenant_id, 'boundaries', greatest(layout_approved_at, boundaries_finished_at), null
        from videos
        where boundaries_status = 'wait' and boundaries_run_id is null and layout_status = 'done'
            and deleted_at is null
        union all
        select tenant_id, 'text', greatest(boundaries_finished_at, text_finished_at), null
        from videos
        where text_status = 'wait' and text_run_id is null and boundaries_status in ('annotate', 'done')
            and deleted_at is null
        union all
        select v.tenant_id, s.stage, null, s.started_at
        from videos v, lateral (
            values ('layout', v.layout_run_id, v.layout_started_at),
                ('boundaries', v.boundaries_run_id, v.boundaries_started_at),
                ('text', v.text_run_id, v.text_started_at)
        ) s (stage, run_id, started_at)
        where (v.layout_run_id is not null or v.boundaries_run_id is not null or v.text_run_id is not null)
            and s.run_id is not null
    ), a_tenant as (
        select w.tenant_id, w.stage, count(w.waiting_since) as waiting, min(w.waiting_since) as oldest_waiting_at,
            count(w.running_since) as running, min(w.running_since) as oldest_running_at
        from work w group by w.tenant_id, w.stage
    )
    select a.stage, t.tier, sum(a.waiting)::bigint, min(a.oldest_waiting_at), sum(a.running)::bigint,
        min(a.oldest_running_at)
    from a_tenant a join tenants t on t.id = a.tenant_id
    group by a.stage, t.tier
    order by a.stage, t.tier
$$;
comment on function captionacc.stage_backlog() is
    'Count, by stage and tier, the videos that wait for a run, claimed or not, and those that a run works '
    'on.';
