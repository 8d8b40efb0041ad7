create or replace function captionacc.list_backfills(p_limit integer default 20)
returns table (
    id uuid, model_version text, conditions jsonb, requested_by text, created_at timestamptz,
    cancelled_at timestamptz, waiting bigint, handed_out bigint, done bigint, skipped bigint, failed bigint,
    cancelled bigint
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select f.id, f.model_version, f.conditions, f.requested_by, f.created_at, f.cancelled_at,
        count(*) filter (where b.status = 'queued' and b.requested_at is null),
        count(*) filter (where b.status = 'queued' and b.requested_at is not null),
        count(*) filter (where b.status = 'done'), count(*) filter (where b.status = 'skipped'),
        count(*) filter (where b.status = 'failed'), count(*) filter (where b.status = 'cancelled')
    from (select * from backfills order by created_at desc, id limit p_limit) f
    left join backfill_videos b on b.backfill_id = f.id
    group by f.id, f.model_version, f.conditions, f.requested_by, f.created_at, f.cancelled_at
    order by f.created_at desc, f.id
$$;
comment on function captionacc.list_backfills(integer) is
    'List the newest backfills with the number of videos in each state.';
