drop function captionacc.claim_backfill_videos(integer,double precision,integer,integer);

alter table captionacc.videos add column partition_key text;

create or replace function captionacc.claim_backfill_videos(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_at_once integer default 20
) returns table (
    backfill_id uuid, video_id uuid, partition_key text, tenant_id uuid, model_version text, size_bytes bigint,
    requested_by text, created_at timestamptz
)
language plpgsql
set search_path = captionacc, pg_temp
as $$
#variable_conflict use_column
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
    item record;
    verdict record;
    handed_out integer := 0;
    room integer;
    picked uuid[] := '{}';
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    if p_at_once is null or p_at_once < 1 then
        raise exception '% videos at once are not usable', p_at_once using errcode = 'CA010';
    end if;
    -- Record the outcome of the videos already handed out; there are few of them.
    for item in
        select b as chosen, v as video, f.model_version from backfill_videos b
        join videos v on v.id = b.video_id join backfills f on f.id = b.backfill_id
        where b.status = 'queued' and b.requested_at is not null
        order by b.requested_at
        for update of b skip locked
    loop
        select * into verdict from _backfill_verdict(item.chosen, item.video, item.model_version);
        if verdict.status is null and (item.chosen).requested_at < stale
            and (item.video).boundaries_run_id is null and (item.chosen).unstarted_requests >= p_max_unstarted
        then
            verdict.status := 'failed';
            verdict.detail := format('requested %s times, but no run began', (item.chosen).unstarted_requests);
        end if;
        if verdict.status is not null then
            update backfill_videos b
            set status = verdict.status, detail = verdict.detail, finished_at = clock_timestamp()
            where b.backfill_id = (item.chosen).backfill_id and b.video_id = (item.chosen).video_id;
            continue;
        end if;
        handed_out := handed_out + 1;
        if (item.chosen).requested_at < stale and (item.video).boundaries_run_id is null
            and cardinality(picked) < p_limit
        then
            picked := picked || (item.chosen).video_id;
        end if;
    end loop;
    room := least(p_at_once - handed_out, p_limit - cardinality(picked));
    if room > 0 then
        for item in
            -- The inner query uses the index, whatever the planner assumes about the tables' sizes.
            select b as chosen, v as video, f.model_version from (
                select * from backfill_videos
                where status = 'queued' and requested_at is null
                order by turn, backfill_id, video_id
                limit room + 200
                for update skip locked
            ) n
            join backfill_videos b on b.backfill_id = n.backfill_id and b.video_id = n.video_id
            join videos v on v.id = b.video_id join backfills f on f.id = b.backfill_id
            order by b.turn, b.backfill_id, b.video_id
        loop
            exit when room = 0;
            -- A run works on it: it stays queued.
            continue when (item.video).boundaries_run_id is not null or (item.video).text_run_id is not null;
            select * into verdict from _backfill_verdict(item.chosen, item.video, item.model_version);
            if verdict.status is null then
                picked := picked || (item.chosen).video_id;
                room := room - 1;
            else
                update backfill_videos b
                set status = verdict.status, detail = verdict.detail, finished_at = clock_timestamp()
                where b.backfill_id = (item.chosen).backfill_id and b.video_id = (item.chosen).video_id;
            end if;
        end loop;
    end if;
    return query
        with claimed as (
            update backfill_videos b
            set requested_at = clock_timestamp(), asked_for_at = coalesce(b.asked_for_at, clock_timestamp()),
                unstarted_requests = b.unstarted_requests + 1
            where b.status = 'queued' and b.video_id = any (picked)
            returning b.*
        )
        select c.backfill_id, c.video_id, coalesce(v.partition_key, v.id::text), c.tenant_id, f.model_version,
            v.size_bytes, f.requested_by, f.created_at
        from claimed c join backfills f on f.id = c.backfill_id join videos v on v.id = c.video_id
        order by c.turn, c.backfill_id, c.video_id;
end
$$;
comment on function captionacc.claim_backfill_videos(integer, double precision, integer, integer) is
    'Claim queued videos, taking tenants in turn, until p_at_once are handed out and unfinished. Videos '
    'that were handed out more than p_restart_after_seconds ago and that no run has begun are claimed '
    'again. First records the outcome of the videos already handed out.';

create or replace function captionacc.set_partition_keys(p_keys jsonb) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if jsonb_typeof(p_keys) is distinct from 'object' then
        raise exception 'partition keys are an object of ids and keys' using errcode = 'CA010';
    end if;
    begin
        -- In the order of the ids, so that two callers do not wait for each other.
        perform from videos where id in (select k.id::uuid from jsonb_object_keys(p_keys) k (id))
        order by id for update;
        update videos v set partition_key = k.value
        from jsonb_each_text(p_keys) k
        where v.id = k.key::uuid and v.partition_key is null and v.layout_tries = 0;
    exception
        when check_violation or invalid_text_representation then
            raise exception 'a partition key does not end with its video''s id, or is too long'
                using errcode = 'CA010';
    end;
    return query select v.* from videos v where v.id in (select k.id::uuid from jsonb_object_keys(p_keys) k (id));
end
$$;
comment on function captionacc.set_partition_keys(jsonb) is
    'Set the partition keys of videos that have none and that no run has begun; return the videos.';

alter table captionacc.videos add constraint videos_partition_key CHECK (((length(partition_key) <= 97) AND ((partition_key = (id)::text) OR ("right"(partition_key, 37) = ('~'::text || (id)::text)))));

revoke execute on function captionacc.claim_backfill_videos(integer,double precision,integer,integer) from public;

revoke execute on function captionacc.set_partition_keys(jsonb) from public;

comment on column captionacc.videos.partition_key is 'Dagster''s partition key, {name}~{id}, fixed at the first claim; null before it. Videos of former versions have none: their key is the id.';
