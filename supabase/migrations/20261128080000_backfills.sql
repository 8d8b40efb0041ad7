-- Backfills: finished videos that are to have a newer extents model. The rows of videos stay as they are
-- until a run begins; what waits for it stands here, and is handed out a few at a time.

create table captionacc.backfills (
    id uuid primary key,
    model_version text not null check (model_version <> ''),
    conditions jsonb not null default '{}' check (jsonb_typeof(conditions) = 'object'),
    requested_by text not null check (requested_by <> ''),
    skipped jsonb not null default '{}' check (jsonb_typeof(skipped) = 'object'),
    created_at timestamptz not null default clock_timestamp(),
    cancelled_at timestamptz
);
comment on table captionacc.backfills is 'Requests to bring finished videos onto an extents model.';
comment on column captionacc.backfills.conditions is 'What was chosen by; see request_backfill.';
comment on column captionacc.backfills.skipped is 'Videos that met the conditions and were not chosen, counted by reason.';

create table captionacc.backfill_videos (
    backfill_id uuid not null references captionacc.backfills (id) on delete cascade,
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    tenant_id uuid not null references captionacc.tenants (id),
    turn integer not null check (turn >= 1),
    former_model_version text,
    status text not null default 'queued' check (status in ('queued', 'done', 'skipped', 'failed', 'cancelled')),
    detail text not null default '',
    asked_for_at timestamptz,
    requested_at timestamptz,
    unstarted_requests integer not null default 0 check (unstarted_requests >= 0),
    finished_at timestamptz,
    primary key (backfill_id, video_id),
    constraint backfill_videos_finished check ((status = 'queued') = (finished_at is null)),
    constraint backfill_videos_asked_for check ((asked_for_at is null) = (requested_at is null))
);
comment on table captionacc.backfill_videos is 'One chosen video of a backfill; queued until it is on the model, or cannot be.';
comment on column captionacc.backfill_videos.turn is 'The tenants in turn: a tenant''s first video before the second ones.';
comment on column captionacc.backfill_videos.asked_for_at is 'When it was first handed out; requested_at: last.';
comment on column captionacc.backfill_videos.detail is 'Why it was skipped, or how it failed.';
create unique index backfill_videos_open on captionacc.backfill_videos (video_id) where status = 'queued';
create index backfill_videos_new on captionacc.backfill_videos (turn, backfill_id, video_id)
    where status = 'queued' and requested_at is null;
create index backfill_videos_handed_out on captionacc.backfill_videos (requested_at)
    where status = 'queued' and requested_at is not null;

alter table captionacc.backfills enable row level security;
alter table captionacc.backfill_videos enable row level security;
create policy backfills_read on captionacc.backfills for select to authenticated
    using ((select captionacc.is_platform_admin()));
create policy backfill_videos_read on captionacc.backfill_videos for select to authenticated
    using ((select captionacc.is_platform_admin()));
grant select on captionacc.backfills, captionacc.backfill_videos to authenticated;

create function captionacc._extents_model(p_video_id uuid, p_version integer) returns text
language sql stable
set search_path = captionacc, pg_temp
as $$
    select model_version from caption_frame_extents_inference_runs
    where video_id = p_video_id and cropped_frames_version = p_version
    order by completed_at desc, created_at desc limit 1
$$;
comment on function captionacc._extents_model(uuid, integer) is
    'The model that labelled a cropped-frames version last: its database is the one in the bucket.';

create function captionacc._check_backfill(p_model_version text, p_conditions jsonb, p_limit integer) returns void
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    condition record;
begin
    perform _check_text(p_model_version, 'the model version');
    if p_limit is not null and p_limit < 1 then
        raise exception 'a limit of % videos is not usable', p_limit using errcode = 'CA010';
    end if;
    if p_conditions is null or jsonb_typeof(p_conditions) <> 'object' then
        raise exception 'conditions % are not an object', p_conditions using errcode = 'CA010';
    end if;
    for condition in select key, value from jsonb_each(p_conditions) loop
        if condition.key not in ('tenant', 'video', 'model_version', 'status', 'uploaded_before', 'uploaded_after') then
            raise exception 'there is no condition %', condition.key using errcode = 'CA010';
        end if;
        if jsonb_typeof(condition.value) <> 'array' or jsonb_array_length(condition.value) = 0
            or exists (select from jsonb_array_elements(condition.value) v where jsonb_typeof(v) <> 'string')
        then
            raise exception 'condition % has not a list of texts', condition.key using errcode = 'CA010';
        end if;
        if condition.key = 'status' and not condition.value <@ '["ready", "reviewed"]' then
            raise exception 'status % is not ready or reviewed', condition.value using errcode = 'CA010';
        end if;
    end loop;
end
$$;

create function captionacc._backfill_candidates(p_model_version text, p_conditions jsonb, p_limit integer)
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
        -- As _extents_model has it, for all of them at once.
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
    'Videos that meet the conditions, with the model that they are on and why they are not chosen; null: they are.';

create function captionacc.request_backfill(
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
        -- Another request may have chosen the same video just now: it is in that one.
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
    'Ask for an extents model on finished videos, the newest first, p_limit of them at most. p_conditions has lists '
    'of texts, of which one must hold each: tenant, video (ids), model_version (that they are on), status (ready, '
    'reviewed; without it reviewed ones are left alone), uploaded_before, uploaded_after. Not chosen are videos that '
    'are on the model, in work, in another backfill, failed or not processed yet. A dry run writes nothing; the same '
    'p_backfill_id again gives what was asked for.';

create function captionacc._backfill_verdict(
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
        detail := 'its captions are made anew in any case';
    elsif model = p_model_version then
        status := case when begun then 'done' else 'skipped' end;
        detail := case when begun then '' else 'it is on ' || p_model_version || ' already' end;
    elsif begun and p_video.boundaries_finished_at >= p_item.asked_for_at then
        status := 'failed';
        detail := format('the run left it on %s: the functions use another model than %s', model, p_model_version);
    end if;
end
$$;
comment on function captionacc._backfill_verdict(captionacc.backfill_videos, captionacc.videos, text) is
    'How a chosen video ended; a null status while it waits or a run works on it.';

create function captionacc.claim_backfill_videos(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_at_once integer default 20
) returns table (
    backfill_id uuid, video_id uuid, tenant_id uuid, model_version text, size_bytes bigint,
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
    -- Those handed out, of which there are few: how did they end?
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
            verdict.detail := format('asked for %s times, and no run began', (item.chosen).unstarted_requests);
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
            -- The next ones by the index first, whatever the planner knows of the tables' sizes.
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
            -- Somebody works on it: its turn comes later.
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
        select c.backfill_id, c.video_id, c.tenant_id, f.model_version, v.size_bytes, f.requested_by, f.created_at
        from claimed c join backfills f on f.id = c.backfill_id join videos v on v.id = c.video_id
        order by c.turn, c.backfill_id, c.video_id;
end
$$;
comment on function captionacc.claim_backfill_videos(integer, double precision, integer, integer) is
    'Chosen videos that no run was asked for yet, the tenants in turn, so that p_at_once are handed out and not '
    'ended; and those handed out longer than p_restart_after_seconds ago that no run began. Notes first how those '
    'handed out have ended.';

create function captionacc.end_backfill_video(p_backfill_id uuid, p_video_id uuid, p_message text) returns boolean
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
    'The run of a chosen video failed or was cancelled. False when that is known, or it is not handed out.';

create function captionacc.cancel_backfill(p_backfill_id uuid) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    cancelled bigint;
begin
    update backfills set cancelled_at = coalesce(cancelled_at, clock_timestamp()) where id = p_backfill_id;
    if not found then
        raise exception 'there is no backfill %', p_backfill_id using errcode = 'CA012';
    end if;
    update backfill_videos set status = 'cancelled', finished_at = clock_timestamp()
    where backfill_id = p_backfill_id and status = 'queued';
    get diagnostics cancelled = row_count;
    return cancelled;
end
$$;
comment on function captionacc.cancel_backfill(uuid) is
    'Ask for no more of its videos; how many there were. A run that works goes on, one that waits does nothing.';

create function captionacc.list_backfills(p_limit integer default 20)
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
comment on function captionacc.list_backfills(integer) is 'The newest backfills, and how their videos are doing.';

create function captionacc.purge_backfills(
    p_older_than_seconds double precision default 7776000, p_dry_run boolean default false
) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    old uuid[];
begin
    perform _check_claim(1, p_older_than_seconds, 1);
    select coalesce(array_agg(f.id), '{}') into old from backfills f
    where f.created_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        and not exists (select from backfill_videos b where b.backfill_id = f.id and b.status = 'queued');
    if not p_dry_run then
        delete from backfills where id = any (old);
    end if;
    return cardinality(old);
end
$$;
comment on function captionacc.purge_backfills(double precision, boolean) is
    'Remove ended backfills that were asked for longer ago than that, or in a dry run only count them.';

create function captionacc.count_stage_outcomes(p_older_than_seconds double precision) returns bigint
language sql stable
set search_path = captionacc, pg_temp
as $$
    select count(*) from stage_outcomes
    where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
$$;
comment on function captionacc.count_stage_outcomes(double precision) is 'How many purge_stage_outcomes would remove.';

revoke execute on all functions in schema captionacc from public;
