-- People, quotas, rejections, requests of captions' text, cancelled runs and the audit log.

-- ---------------------------------------------------------------------------------------------
-- What a tenant may use. Null is no limit; a tenant's own limit counts before its tier's.

alter table captionacc.access_tiers
    add column storage_quota_bytes bigint check (storage_quota_bytes >= 0),
    add column video_count_limit integer check (video_count_limit >= 0),
    add column processing_minutes_limit numeric check (processing_minutes_limit >= 0),
    add column daily_upload_limit integer check (daily_upload_limit >= 0);
comment on column captionacc.access_tiers.storage_quota_bytes is 'Bytes of accepted videos at a time; null: no limit.';
comment on column captionacc.access_tiers.video_count_limit is 'Accepted videos at a time; null: no limit.';
comment on column captionacc.access_tiers.processing_minutes_limit is
    'Minutes of processing in a calendar month (UTC); null: no limit.';
comment on column captionacc.access_tiers.daily_upload_limit is 'Videos accepted in a day (UTC); null: no limit.';

alter table captionacc.tenants
    add column quota_exempt boolean not null default false,
    add column storage_quota_bytes bigint check (storage_quota_bytes >= 0),
    add column video_count_limit integer check (video_count_limit >= 0),
    add column processing_minutes_limit numeric check (processing_minutes_limit >= 0),
    add column daily_upload_limit integer check (daily_upload_limit >= 0),
    add column accepted_video_count integer not null default 0,
    add column accepted_bytes bigint not null default 0;
comment on column captionacc.tenants.quota_exempt is 'No limit applies, whatever the tier says.';
comment on column captionacc.tenants.storage_quota_bytes is 'Own limit in place of the tier''s; null: the tier''s.';
comment on column captionacc.tenants.accepted_video_count is
    'Videos accepted and not deleted, kept by a trigger: counting them would grow with what exists.';
comment on column captionacc.tenants.accepted_bytes is 'Their size.';

alter table captionacc.videos
    add column accepted_at timestamptz,
    add column is_demo boolean not null default false,
    add column disable_age_boosting boolean not null default false;
comment on column captionacc.videos.accepted_at is
    'When the video passed its tenant''s quotas, at its first claim; from then on it counts towards them.';
comment on column captionacc.videos.is_demo is 'Everybody may look at it.';
comment on column captionacc.videos.disable_age_boosting is
    'Whether runs of this video do without the priority that waiting earns; chosen when a layout is approved.';
comment on column captionacc.videos.uploaded_by_user_id is 'Who uploaded it: the owner of the row for its policies.';

update captionacc.videos set accepted_at = coalesce(layout_started_at, layout_requested_at, updated_at)
where layout_attempts > 0 or layout_last_run_id is not null or layout_run_id is not null;
update captionacc.tenants t set accepted_video_count = v.count, accepted_bytes = v.bytes
from (
    select tenant_id, count(*) as count, sum(size_bytes) as bytes from captionacc.videos
    where accepted_at is not null and deleted_at is null group by tenant_id
) v
where v.tenant_id = t.id;

create index videos_accepted on captionacc.videos (tenant_id, accepted_at) where accepted_at is not null;
create index videos_demo on captionacc.videos (id) where is_demo;
create index videos_by_uploader on captionacc.videos (uploaded_by_user_id) where uploaded_by_user_id is not null;
create index compute_calls_by_video on captionacc.compute_calls (video_id);
create index usage_metrics_by_video on captionacc.usage_metrics (video_id) where video_id is not null;
create index cropped_frames_versions_removable on captionacc.cropped_frames_versions (video_id, version)
    where status in ('failed', 'archived') and objects_removed_at is null;

create function captionacc._accept_started_video() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- A run that nobody claimed for, such as one started by hand, uses the quota as well.
    new.accepted_at := coalesce(new.accepted_at, clock_timestamp());
    return new;
end
$$;
create trigger videos_accept_started before update of layout_run_id on captionacc.videos for each row
    when (new.layout_run_id is not null and new.accepted_at is null)
    execute function captionacc._accept_started_video();

create function captionacc._count_accepted() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- Once a statement: a claim of many videos changes each tenant's row once.
    update tenants t set
        accepted_video_count = t.accepted_video_count + change.videos, accepted_bytes = t.accepted_bytes + change.bytes
    from (
        select o.tenant_id, sum(n.videos - o.videos) as videos, sum(n.bytes - o.bytes) as bytes
        from (
            select id, tenant_id, counts::integer as videos, counts::integer * size_bytes as bytes
            from before_statement, lateral (select accepted_at is not null and deleted_at is null as counts) c
        ) o
        join (
            select id, counts::integer as videos, counts::integer * size_bytes as bytes
            from after_statement, lateral (select accepted_at is not null and deleted_at is null as counts) c
        ) n using (id)
        where (n.videos, n.bytes) <> (o.videos, o.bytes)
        group by o.tenant_id
    ) change
    where t.id = change.tenant_id;
    return null;
end
$$;
create trigger videos_count_accepted after update on captionacc.videos
    referencing old table as before_statement new table as after_statement
    for each statement execute function captionacc._count_accepted();

create function captionacc._count_removed() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update tenants set accepted_video_count = accepted_video_count - 1,
        accepted_bytes = accepted_bytes - old.size_bytes
    where id = old.tenant_id;
    return null;
end
$$;
create trigger videos_count_removed after delete on captionacc.videos for each row
    when (old.accepted_at is not null and old.deleted_at is null)
    execute function captionacc._count_removed();

-- ---------------------------------------------------------------------------------------------
-- People

create table captionacc.user_profiles (
    user_id uuid primary key,
    tenant_id uuid not null references captionacc.tenants (id),
    role text not null default 'member' check (role in ('member', 'owner')),
    approval_status text not null default 'pending' check (approval_status in ('pending', 'approved', 'rejected')),
    is_platform_admin boolean not null default false,
    display_name text not null default '' check (length(display_name) <= 200),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table captionacc.user_profiles is
    'Which tenant a user belongs to and what they are there. Nothing is seen or done before the approval.';
comment on column captionacc.user_profiles.user_id is 'auth.users.id on Supabase.';
comment on column captionacc.user_profiles.is_platform_admin is 'Sees and acts for every tenant.';
create index user_profiles_by_tenant on captionacc.user_profiles (tenant_id);

do $$
begin
    -- Where people sign in through Supabase, a profile goes with its user.
    if to_regclass('auth.users') is not null then
        alter table captionacc.user_profiles add constraint user_profiles_user_id_fkey
            foreign key (user_id) references auth.users (id) on delete cascade;
    end if;
end
$$;

create table captionacc.security_audit_log (
    id bigint generated always as identity primary key,
    occurred_at timestamptz not null default clock_timestamp(),
    user_id uuid,
    role text not null,
    tenant_id uuid,
    action text not null check (action <> ''),
    outcome text not null check (outcome in ('allowed', 'refused')),
    reason text not null default '',
    video_id uuid,
    target_tenant_id uuid,
    details jsonb not null default '{}' check (jsonb_typeof(details) = 'object')
);
comment on table captionacc.security_audit_log is
    'What people did or were refused. Rows are only ever added, and outlive what they name.';
comment on column captionacc.security_audit_log.tenant_id is 'The user''s tenant; target_tenant_id is the video''s.';
create index security_audit_log_by_tenant on captionacc.security_audit_log (tenant_id, occurred_at desc);
create index security_audit_log_refused on captionacc.security_audit_log (occurred_at desc)
    where outcome = 'refused';

-- ---------------------------------------------------------------------------------------------
-- Rejections, requests, cancellations

create table captionacc.caption_frame_extents_inference_rejections (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid references captionacc.videos (id) on delete cascade,
    rejection_type text not null check (rejection_type in (
        'storage_quota_exceeded', 'video_count_exceeded', 'processing_minutes_exceeded', 'daily_uploads_exceeded',
        'frame_count_exceeded', 'cost_exceeded', 'validation_failed', 'rate_limited', 'queue_full'
    )),
    message text not null check (message <> ''),
    cropped_frames_version integer,
    model_version text,
    run_id text,
    frame_count bigint check (frame_count >= 0),
    estimated_cost_usd numeric check (estimated_cost_usd >= 0),
    created_at timestamptz not null default clock_timestamp(),
    acknowledged_at timestamptz,
    acknowledged_by text check (acknowledged_by <> ''),
    constraint inference_rejections_acknowledged check ((acknowledged_at is null) = (acknowledged_by is null))
);
comment on table captionacc.caption_frame_extents_inference_rejections is
    'Work that was not done and why, until its user has taken note of it.';
create index inference_rejections_by_tenant
    on captionacc.caption_frame_extents_inference_rejections (tenant_id, created_at desc);
create index inference_rejections_by_video
    on captionacc.caption_frame_extents_inference_rejections (video_id);

create table captionacc.caption_ocr_requests (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    cropped_frames_version integer not null,
    caption_ids bigint[] check (cardinality(caption_ids) between 1 and 10000),
    status text not null default 'queued'
        check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    requested_by text not null check (requested_by <> ''),
    run_id text,
    attempts integer not null default 0 check (attempts >= 0),
    unstarted_requests integer not null default 0 check (unstarted_requests >= 0),
    requested_at timestamptz,
    error_message text,
    caption_count integer check (caption_count >= 0),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint caption_ocr_requests_processing check (status <> 'processing' or run_id is not null),
    constraint caption_ocr_requests_failed check ((status = 'failed') = (error_message is not null)),
    constraint caption_ocr_requests_finished check (
        (status in ('completed', 'failed', 'cancelled')) = (finished_at is not null)
    )
);
comment on table captionacc.caption_ocr_requests is 'Captions whose text somebody wants read anew.';
comment on column captionacc.caption_ocr_requests.caption_ids is 'captions.id in captions.db; null: all of them.';
comment on column captionacc.caption_ocr_requests.requested_at is 'When it was last handed to a sensor.';
create index caption_ocr_requests_waiting
    on captionacc.caption_ocr_requests (requested_at nulls first, created_at, id) where status = 'queued';
create index caption_ocr_requests_by_video on captionacc.caption_ocr_requests (video_id, created_at desc);

create table captionacc.run_cancellations (
    run_id text primary key,
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    stage text not null check (stage in ('layout', 'boundaries', 'text')),
    requested_by text not null check (requested_by <> ''),
    requested_at timestamptz not null default clock_timestamp(),
    handled_at timestamptz
);
comment on table captionacc.run_cancellations is
    'Runs whose work nobody wants any more: what they write is refused from now on, and they are to be ended.';
create index run_cancellations_open on captionacc.run_cancellations (requested_at) where handled_at is null;
create index run_cancellations_by_video on captionacc.run_cancellations (video_id);

do $$
declare
    name text;
begin
    foreach name in array array['user_profiles', 'caption_ocr_requests'] loop
        execute format(
            'create trigger %I before update on captionacc.%I for each row execute function captionacc.touch_updated_at()',
            name || '_touch_updated_at', name
        );
    end loop;
    foreach name in array array[
        'user_profiles', 'security_audit_log', 'caption_frame_extents_inference_rejections',
        'caption_ocr_requests', 'run_cancellations'
    ] loop
        execute format('alter table captionacc.%I enable row level security', name);
    end loop;
end
$$;
revoke update, delete, truncate on captionacc.security_audit_log from service_role;
revoke execute on all functions in schema captionacc from public;
