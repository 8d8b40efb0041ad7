-- The catalogue as supabase/schemas describes it, file by file.

-- schemas/platform.sql

-- Roles, schema auth and auth.uid(), which a Supabase project has and a plain PostgreSQL lacks.
-- On Supabase these statements find their objects and change nothing.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
        if exists (select from pg_catalog.pg_roles where rolname = wanted) then
            continue;
        end if;
        begin
            execute format('create role %I nologin noinherit', wanted);
            if wanted = 'service_role' then
                execute format('alter role %I bypassrls', wanted);
            end if;
        exception
            -- Roles belong to the server: a concurrent migration of another database may create them.
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                raise exception 'role % is missing and this user may not create it', wanted
                    using hint = 'Migrate once as a superuser, or have the roles anon, authenticated '
                        'and service_role (bypassrls) created.';
        end;
    end loop;
end
$$;

create schema if not exists auth;

do $$
begin
    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid
        language sql stable
        as $function$
            select nullif(
                coalesce(
                    nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
                ), ''
            )::uuid
        $function$;
        comment on function auth.uid() is
            'The user of the request, from its JWT claims; null without a request. Replaces Supabase''s own function.';
        grant usage on schema auth to anon, authenticated, service_role;
    end if;
end
$$;

-- schemas/schema.sql

create schema if not exists captionacc;
comment on schema captionacc is 'Catalogue of CaptionA.cc: tenants, videos and their states, locks, versions.';

grant usage on schema captionacc to service_role;
grant usage on schema captionacc to anon, authenticated;
alter default privileges in schema captionacc
    grant select, insert, update, delete on tables to service_role;
alter default privileges in schema captionacc
    grant execute on functions to service_role;

-- schemas/functions/checks/is_crop_region.sql

-- Numeric values are exact, but a value computed with binary fractions may be slightly less than 0.01.
create or replace function captionacc.is_crop_region(p_value jsonb) returns boolean
language plpgsql immutable parallel safe
set search_path = ''
as $$
declare
    side text;
    least constant numeric := 0.01 - 1e-9;
begin
    if p_value is null or jsonb_typeof(p_value) <> 'object' then
        return false;
    end if;
    if (select count(*) from jsonb_object_keys(p_value)) <> 4 then
        return false;
    end if;
    foreach side in array array['crop_left', 'crop_top', 'crop_right', 'crop_bottom'] loop
        if jsonb_typeof(p_value -> side) is distinct from 'number' then
            return false;
        end if;
    end loop;
    return (p_value ->> 'crop_left')::numeric >= 0
        and (p_value ->> 'crop_right')::numeric - (p_value ->> 'crop_left')::numeric >= least
        and (p_value ->> 'crop_right')::numeric <= 1
        and (p_value ->> 'crop_top')::numeric >= 0
        and (p_value ->> 'crop_bottom')::numeric - (p_value ->> 'crop_top')::numeric >= least
        and (p_value ->> 'crop_bottom')::numeric <= 1;
end
$$;
comment on function captionacc.is_crop_region(jsonb) is
    'Return whether the value has exactly crop_left, crop_top, crop_right and crop_bottom, as fractions '
    'of the upright frame in [0, 1], with sides of at least 0.01.';

-- schemas/types.sql

create domain captionacc.crop_region as jsonb
    constraint crop_region_valid check (value is null or captionacc.is_crop_region(value));

-- schemas/tables/tenants.sql

create table captionacc.access_tiers (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,30}$'),
    base_priority integer not null check (base_priority between 0 and 100),
    description text not null default '',
    storage_quota_bytes bigint check (storage_quota_bytes >= 0),
    video_count_limit integer check (video_count_limit >= 0),
    processing_minutes_limit numeric check (processing_minutes_limit >= 0),
    daily_upload_limit integer check (daily_upload_limit >= 0),
    video_cost_limit_usd numeric check (video_cost_limit_usd >= 0),
    month_cost_limit_usd numeric check (month_cost_limit_usd >= 0)
);
comment on table captionacc.access_tiers is 'Priorities and limits of tenants, by tier.';
comment on column captionacc.access_tiers.base_priority is
    'Run priority before age and size are added (0 to 100).';
comment on column captionacc.access_tiers.storage_quota_bytes is
    'Limit of the accepted videos'' bytes; null: no limit.';
comment on column captionacc.access_tiers.video_count_limit is 'Limit of accepted videos; null: no limit.';
comment on column captionacc.access_tiers.processing_minutes_limit is
    'Limit of processing minutes in a calendar month (UTC); null: no limit.';
comment on column captionacc.access_tiers.daily_upload_limit is
    'Limit of videos accepted in a day (UTC); null: no limit.';
comment on column captionacc.access_tiers.video_cost_limit_usd is
    'Limit of one video''s total cost; null: the installation''s limit, infinity: no limit.';
comment on column captionacc.access_tiers.month_cost_limit_usd is
    'Limit of a tenant''s cost in a calendar month (UTC); null: the installation''s limit, infinity: no '
    'limit.';
alter table captionacc.access_tiers enable row level security;

insert into captionacc.access_tiers (id, base_priority, description) values
    ('free', 50, 'No commitment'),
    ('premium', 70, 'Paying tenant'),
    ('enterprise', 90, 'Contract with response times');

create table captionacc.tenants (
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    tier text not null default 'free' references captionacc.access_tiers (id),
    auto_approve_layout_confidence double precision
        check (auto_approve_layout_confidence between 0 and 1),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    quota_exempt boolean not null default false,
    storage_quota_bytes bigint check (storage_quota_bytes >= 0),
    video_count_limit integer check (video_count_limit >= 0),
    processing_minutes_limit numeric check (processing_minutes_limit >= 0),
    daily_upload_limit integer check (daily_upload_limit >= 0),
    accepted_video_count integer not null default 0,
    accepted_bytes bigint not null default 0,
    video_cost_limit_usd numeric check (video_cost_limit_usd >= 0),
    month_cost_limit_usd numeric check (month_cost_limit_usd >= 0)
);
comment on table captionacc.tenants is 'Owners of videos, isolated from each other.';
comment on column captionacc.tenants.auto_approve_layout_confidence is
    'Layouts with at least this confidence are approved without a person; null: never.';
comment on column captionacc.tenants.quota_exempt is
    'Whether no limit applies, whatever the tier''s limits are.';
comment on column captionacc.tenants.storage_quota_bytes is
    'Own limit, used instead of the tier''s; null: the tier''s.';
comment on column captionacc.tenants.accepted_video_count is
    'Number of accepted videos that are not deleted, kept by a trigger, because counting them takes '
    'longer with every video.';
comment on column captionacc.tenants.accepted_bytes is 'Total size of the videos of accepted_video_count.';
comment on column captionacc.tenants.video_cost_limit_usd is
    'Own limit, used instead of the tier''s; null: the tier''s.';
comment on column captionacc.tenants.month_cost_limit_usd is
    'Own limit, used instead of the tier''s; null: the tier''s.';
alter table captionacc.tenants enable row level security;

-- schemas/tables/people.sql

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
    'Tenant and role of each user. A user sees and does nothing before the approval.';
comment on column captionacc.user_profiles.user_id is 'auth.users.id on Supabase.';
comment on column captionacc.user_profiles.is_platform_admin is
    'Whether the user sees and acts for every tenant.';
create index user_profiles_by_tenant on captionacc.user_profiles (tenant_id);
alter table captionacc.user_profiles enable row level security;
do $$
begin
    -- On Supabase a profile is deleted with its user.
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
    'Actions of people, allowed and refused. Rows are only added and outlive the videos and users that '
    'they name.';
comment on column captionacc.security_audit_log.tenant_id is
    'The user''s tenant; target_tenant_id is the video''s.';
create index security_audit_log_by_tenant on captionacc.security_audit_log (tenant_id, occurred_at desc);
create index security_audit_log_refused on captionacc.security_audit_log (occurred_at desc)
    where outcome = 'refused';
create index security_audit_log_by_user on captionacc.security_audit_log (
    (coalesce(user_id, '00000000-0000-0000-0000-000000000000')), outcome, occurred_at desc
);
create index security_audit_log_by_time on captionacc.security_audit_log (occurred_at);
alter table captionacc.security_audit_log enable row level security;

-- schemas/tables/videos.sql

create table captionacc.videos (
    id uuid primary key,
    tenant_id uuid not null references captionacc.tenants (id),
    display_path text not null check (length(display_path) between 1 and 1024),
    storage_key text not null unique
        check (starts_with(storage_key, tenant_id::text || '/') and storage_key !~ '(^|/)\.{0,2}(/|$)'),
    size_bytes bigint not null check (size_bytes >= 0),
    uploaded_by_user_id uuid,
    uploaded_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,

    -- Properties, known after the first pass over the file.
    duration_seconds double precision check (duration_seconds >= 0),
    width integer check (width > 0),
    height integer check (height > 0),
    video_codec text,
    bitrate bigint check (bitrate >= 0),
    frame_count bigint check (frame_count >= 1),
    full_frame_count integer check (full_frame_count >= 0),
    ocr_box_count integer check (ocr_box_count >= 0),
    failed_ocr_count integer check (failed_ocr_count >= 0),
    damage text not null default '',

    layout_status text not null default 'wait' check (layout_status in ('wait', 'annotate', 'done', 'error')),
    layout_error_details jsonb,
    layout_run_id text,
    layout_last_run_id text,
    layout_attempts integer not null default 0 check (layout_attempts >= 0),
    layout_unstarted_requests integer not null default 0 check (layout_unstarted_requests >= 0),
    layout_requested_at timestamptz,
    layout_started_at timestamptz,
    layout_finished_at timestamptz,
    layout_note text not null default '',
    layout_found boolean,
    layout_confidence double precision check (layout_confidence between 0 and 1),
    proposed_crop_region captionacc.crop_region,
    layout_approved_at timestamptz,
    layout_approved_by text check (layout_approved_by <> ''),
    crop_region captionacc.crop_region,
    crop_region_version integer not null default 0 check (crop_region_version >= 0),

    boundaries_status text not null default 'wait'
        check (boundaries_status in ('wait', 'annotate', 'done', 'error')),
    boundaries_error_details jsonb,
    boundaries_run_id text,
    boundaries_last_run_id text,
    boundaries_attempts integer not null default 0 check (boundaries_attempts >= 0),
    boundaries_unstarted_requests integer not null default 0 check (boundaries_unstarted_requests >= 0),
    boundaries_requested_at timestamptz,
    boundaries_started_at timestamptz,
    boundaries_finished_at timestamptz,
    boundaries_note text not null default '',
    current_cropped_frames_version integer,
    caption_count integer check (caption_count >= 0),

    text_status text not null default 'wait' check (text_status in ('wait', 'annotate', 'done', 'error')),
    text_error_details jsonb,
    text_run_id text,
    text_last_run_id text,
    text_attempts integer not null default 0 check (text_attempts >= 0),
    text_unstarted_requests integer not null default 0 check (text_unstarted_requests >= 0),
    text_requested_at timestamptz,
    text_started_at timestamptz,
    text_finished_at timestamptz,
    text_note text not null default '',
    text_caption_count integer check (text_caption_count >= 0),
    accepted_at timestamptz,
    is_demo boolean not null default false,
    disable_age_boosting boolean not null default false,
    layout_tries integer not null default 0 check (layout_tries >= 0),
    layout_run_try integer not null default 0 check (layout_run_try >= 0),
    boundaries_tries integer not null default 0 check (boundaries_tries >= 0),
    boundaries_run_try integer not null default 0 check (boundaries_run_try >= 0),
    text_tries integer not null default 0 check (text_tries >= 0),
    text_run_try integer not null default 0 check (text_run_try >= 0),
    objects_removed_at timestamptz,
    time_spans jsonb not null default '[]' check (jsonb_typeof(time_spans) = 'array'),
    content_sha256 text check (content_sha256 ~ '^[0-9a-f]{64}$'),

    constraint videos_layout_error check ((layout_status = 'error') = (layout_error_details is not null)),
    constraint videos_boundaries_error check ((boundaries_status = 'error') = (boundaries_error_details is not null)),
    constraint videos_text_error check ((text_status = 'error') = (text_error_details is not null)),
    constraint videos_approval_whole check (
        (crop_region is null) = (layout_approved_at is null)
        and (crop_region is null) = (layout_approved_by is null)
        and (crop_region is null) = (crop_region_version = 0)
    ),
    constraint videos_layout_done check (layout_status <> 'done' or crop_region is not null),
    constraint videos_boundaries_ready check (
        boundaries_status not in ('annotate', 'done')
        or (current_cropped_frames_version is not null and caption_count is not null)
    ),
    constraint videos_text_ready check (text_status not in ('annotate', 'done') or text_caption_count is not null)
);
comment on table captionacc.videos is
    'One row for each video: its file, its properties, and its three stages (layout, boundaries, text). A '
    'stage waits for a run (wait), is ready for a person (annotate), is reviewed (done) or has failed '
    '(error).';
comment on column captionacc.videos.display_path is 'Name shown to people; storage keys never depend on it.';
comment on column captionacc.videos.storage_key is 'Object key of the upload, in the tenant''s prefix.';
comment on column captionacc.videos.uploaded_at is
    'When the complete object was known to be in the bucket; null during the upload.';
comment on column captionacc.videos.deleted_at is
    'Time of the soft deletion; a deleted video is never processed.';
comment on column captionacc.videos.frame_count is 'Number of 10 Hz frame indices.';
comment on column captionacc.videos.damage is
    'Which parts of the file could not be decoded; empty for an undamaged file.';
comment on column captionacc.videos.layout_run_id is
    'The run that works on the stage now; null if none does.';
comment on column captionacc.videos.layout_last_run_id is
    'The last run that began the stage, kept after it has ended.';
comment on column captionacc.videos.layout_attempts is
    'Number of requested attempts. It never decreases, so that run keys stay unique. A claim that is '
    'repeated because no run began is the same attempt.';
comment on column captionacc.videos.layout_unstarted_requests is
    'Number of claims since a run last began the stage.';
comment on column captionacc.videos.layout_error_details is
    'message, error_type, run_id, attempt and failed_at of the last attempt.';
comment on column captionacc.videos.layout_note is 'A note for people, such as: no caption band was found.';
comment on column captionacc.videos.proposed_crop_region is
    'Result of layout analysis; without effect until it is approved.';
comment on column captionacc.videos.layout_approved_by is
    'Who approved the crop region; ''auto'' for the tenant''s policy.';
comment on column captionacc.videos.crop_region is 'The approved caption strip.';
comment on column captionacc.videos.crop_region_version is
    '0 before the first approval, incremented with each changed region.';
comment on column captionacc.videos.caption_count is 'Number of captions found by the last boundaries run.';
comment on column captionacc.videos.text_caption_count is
    'Number of captions with text from the last text run.';
comment on column captionacc.videos.accepted_at is
    'When the video passed its tenant''s quotas, at its first claim; it counts towards them from then on.';
comment on column captionacc.videos.is_demo is 'Whether everybody may see the video.';
comment on column captionacc.videos.disable_age_boosting is
    'Whether runs of this video gain no priority by waiting; chosen when a layout is approved.';
comment on column captionacc.videos.uploaded_by_user_id is 'The uploader, who owns the row for the policies.';
comment on column captionacc.videos.layout_tries is
    'Number of times the work was begun, including retries within a run; it never decreases.';
comment on column captionacc.videos.layout_run_try is
    'Number of the current or last try of layout_last_run_id, from 1.';
comment on column captionacc.videos.objects_removed_at is
    'When a deleted video''s objects were removed from the bucket.';
comment on column captionacc.videos.time_spans is
    'Rows [first_index, offset_seconds, held] by index. From first_index on, a player''s time is '
    'offset_seconds more than the seconds in captions.db. The first offset is the time from the '
    'container''s start to the first frame. Later offsets follow stretches without frames, which have no '
    'indices. held: a player shows the last frame before the span until the span begins. Empty: nothing '
    'to add.';
comment on column captionacc.videos.duration_seconds is
    'Length on the index axis, without the long stretches that have no frames.';
comment on column captionacc.videos.content_sha256 is
    'SHA-256 of the file in lower-case hexadecimal digits; null if the uploader did not give it.';
create index videos_by_tenant on captionacc.videos (tenant_id, created_at desc, id);
create index videos_by_age on captionacc.videos (created_at desc, id);
-- For the sensors' queries, every few seconds: their cost grows with the waiting videos, not with all videos.
create index videos_layout_waiting on captionacc.videos (layout_requested_at nulls first, uploaded_at, id)
    where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null and deleted_at is null;
create index videos_boundaries_waiting
    on captionacc.videos (boundaries_requested_at nulls first, layout_approved_at, id)
    where boundaries_status = 'wait' and boundaries_run_id is null and layout_status = 'done'
        and deleted_at is null;
create index videos_text_waiting on captionacc.videos (text_requested_at nulls first, boundaries_finished_at, id)
    where text_status = 'wait' and text_run_id is null and boundaries_status in ('annotate', 'done')
        and deleted_at is null;
create index videos_in_work on captionacc.videos (id)
    where layout_run_id is not null or boundaries_run_id is not null or text_run_id is not null;
create index videos_accepted on captionacc.videos (tenant_id, accepted_at) where accepted_at is not null;
create index videos_demo on captionacc.videos (id) where is_demo;
create index videos_by_uploader on captionacc.videos (uploaded_by_user_id) where uploaded_by_user_id is not null;
create index videos_to_remove on captionacc.videos (deleted_at)
    where deleted_at is not null and objects_removed_at is null;
-- A hash index, because a name may be too long for a B-tree.
create index videos_by_name on captionacc.videos using hash (display_path);
create index videos_by_content on captionacc.videos (tenant_id, content_sha256)
    where content_sha256 is not null and deleted_at is null;
-- For claims that take tenants in turn.
create index videos_layout_new on captionacc.videos (tenant_id, uploaded_at, id)
    where layout_status = 'wait' and layout_run_id is null and deleted_at is null and uploaded_at is not null
        and layout_requested_at is null;
create index videos_layout_asked_for on captionacc.videos (tenant_id, layout_unstarted_requests)
    where layout_status = 'wait' and layout_run_id is null and deleted_at is null and uploaded_at is not null
        and layout_requested_at is not null;
create index videos_boundaries_new on captionacc.videos (tenant_id, layout_approved_at, id)
    where boundaries_status = 'wait' and boundaries_run_id is null and deleted_at is null and layout_status = 'done'
        and boundaries_requested_at is null;
create index videos_boundaries_asked_for on captionacc.videos (tenant_id, boundaries_unstarted_requests)
    where boundaries_status = 'wait' and boundaries_run_id is null and deleted_at is null and layout_status = 'done'
        and boundaries_requested_at is not null;
create index videos_text_new on captionacc.videos (tenant_id, boundaries_finished_at, id)
    where text_status = 'wait' and text_run_id is null and deleted_at is null and boundaries_status in ('annotate', 'done')
        and text_requested_at is null;
create index videos_text_asked_for on captionacc.videos (tenant_id, text_unstarted_requests)
    where text_status = 'wait' and text_run_id is null and deleted_at is null and boundaries_status in ('annotate', 'done')
        and text_requested_at is not null;
alter table captionacc.videos enable row level security;

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
    'Cancelled runs: their writes are refused, and they are to be ended.';
create index run_cancellations_open on captionacc.run_cancellations (requested_at) where handled_at is null;
create index run_cancellations_by_video on captionacc.run_cancellations (video_id);
alter table captionacc.run_cancellations enable row level security;

-- schemas/tables/cropped_frames.sql

create table captionacc.cropped_frames_versions (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    version integer not null check (version >= 1),
    tenant_id uuid not null references captionacc.tenants (id),
    run_id text not null,
    crop_region captionacc.crop_region not null,
    crop_region_version integer not null check (crop_region_version >= 1),
    frame_rate double precision not null default 10 check (frame_rate > 0),
    status text not null default 'processing' check (status in ('processing', 'active', 'archived', 'failed')),
    error_message text,
    chunk_count integer check (chunk_count >= 1),
    total_frames bigint check (total_frames >= 1),
    total_size_bytes bigint check (total_size_bytes >= 0),
    created_at timestamptz not null default now(),
    activated_at timestamptz,
    archived_at timestamptz,
    failed_at timestamptz,
    objects_removed_at timestamptz,
    primary key (video_id, version),
    constraint cropped_frames_versions_failed check ((status = 'failed') = (failed_at is not null)),
    constraint cropped_frames_versions_activated check (
        (status in ('active', 'archived')) = (activated_at is not null)
        and (activated_at is null or num_nulls(chunk_count, total_frames, total_size_bytes) = 0)
    ),
    constraint cropped_frames_versions_archived check ((status = 'archived') = (archived_at is not null))
);
comment on table captionacc.cropped_frames_versions is
    'Sets of cropped-frame chunks. Readers use the active one; a number is never used twice.';
comment on column captionacc.cropped_frames_versions.objects_removed_at is
    'When a failed or archived version''s objects were removed from the bucket.';
create unique index cropped_frames_versions_one_active on captionacc.cropped_frames_versions (video_id)
    where status = 'active';
create unique index cropped_frames_versions_one_processing on captionacc.cropped_frames_versions (video_id)
    where status = 'processing';
create index cropped_frames_versions_removable on captionacc.cropped_frames_versions (video_id, version)
    where status in ('failed', 'archived') and objects_removed_at is null;
create index cropped_frames_versions_unfinished on captionacc.cropped_frames_versions (created_at)
    where status = 'processing';
alter table captionacc.cropped_frames_versions enable row level security;

alter table captionacc.videos add constraint videos_current_cropped_frames_version_fkey
    foreign key (id, current_cropped_frames_version)
    references captionacc.cropped_frames_versions (video_id, version) deferrable initially deferred;

create table captionacc.caption_frame_extents_inference_runs (
    id uuid primary key default gen_random_uuid(),
    video_id uuid not null,
    cropped_frames_version integer not null,
    tenant_id uuid not null references captionacc.tenants (id),
    run_id text not null,
    model_version text not null check (model_version <> ''),
    model_sha256 text check (model_sha256 ~ '^[0-9a-f]{64}$'),
    storage_key text not null,
    file_size_bytes bigint check (file_size_bytes >= 0),
    total_pairs bigint not null check (total_pairs >= 0),
    processing_time_seconds double precision not null check (processing_time_seconds >= 0),
    started_at timestamptz not null,
    completed_at timestamptz not null check (completed_at >= started_at),
    created_at timestamptz not null default now(),
    foreign key (video_id, cropped_frames_version)
        references captionacc.cropped_frames_versions (video_id, version) on delete cascade,
    unique (video_id, cropped_frames_version, model_version)
);
comment on table captionacc.caption_frame_extents_inference_runs is
    'Which model labelled which cropped frames: one row for each video, version and model.';
create index caption_frame_extents_inference_runs_by_model
    on captionacc.caption_frame_extents_inference_runs (model_version);
alter table captionacc.caption_frame_extents_inference_runs enable row level security;

-- schemas/tables/rejections.sql

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
    'Work that was refused, with the reason, until a user acknowledges it.';
create index inference_rejections_by_tenant
    on captionacc.caption_frame_extents_inference_rejections (tenant_id, created_at desc);
create index inference_rejections_by_video
    on captionacc.caption_frame_extents_inference_rejections (video_id);
alter table captionacc.caption_frame_extents_inference_rejections enable row level security;

-- schemas/tables/client_databases.sql

create table captionacc.video_database_state (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    database_name text not null check (database_name in ('layout', 'captions')),
    tenant_id uuid not null references captionacc.tenants (id),
    server_version bigint not null default 0 check (server_version >= 0),
    lock_token uuid unique,
    lock_owner text check (lock_owner <> ''),
    lock_type text check (lock_type in ('server', 'client')),
    locked_at timestamptz,
    lock_expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (video_id, database_name),
    constraint video_database_state_lock_whole check (
        num_nonnulls(lock_token, lock_owner, lock_type, locked_at, lock_expires_at) in (0, 5)
    )
);
comment on table captionacc.video_database_state is
    'Version and lock of each client database. The lock is a lease: it is free after lock_expires_at.';
comment on column captionacc.video_database_state.server_version is
    'Incremented with each published version of the file.';
comment on column captionacc.video_database_state.lock_token is
    'Secret of the holder, needed to renew and release the lock.';
comment on column captionacc.video_database_state.lock_owner is
    'Holder, for people: a run or a user''s session.';
create index video_database_state_held on captionacc.video_database_state (lock_expires_at)
    where lock_token is not null;
alter table captionacc.video_database_state enable row level security;

-- schemas/tables/caption_ocr.sql

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
comment on table captionacc.caption_ocr_requests is 'Requests to read the text of captions again.';
comment on column captionacc.caption_ocr_requests.caption_ids is 'captions.id in captions.db; null: all of them.';
comment on column captionacc.caption_ocr_requests.requested_at is 'Time of the last claim.';
create index caption_ocr_requests_waiting
    on captionacc.caption_ocr_requests (requested_at nulls first, created_at, id) where status = 'queued';
create index caption_ocr_requests_by_video on captionacc.caption_ocr_requests (video_id, created_at desc);
create index caption_ocr_requests_in_work on captionacc.caption_ocr_requests (run_id) where status = 'processing';
alter table captionacc.caption_ocr_requests enable row level security;

-- schemas/tables/compute_calls.sql

-- Durable calls of compute functions. A row is written before the backend is called, so that a repeated
-- request finds the running call or its result instead of paying twice.
--
--   pending     written; the backend's id of the call is not known yet
--   running     the backend runs it under call_id
--   succeeded   its result is stored for the next equal request, until it is settled
--   failed      the function failed, or its result was lost
--   cancelled   no longer wanted; cancel_delivered_at is the time when the backend confirmed
--
-- The waiter is a token that an attempt creates for itself. Of two attempts with equal requests, the later one
-- is the waiter: only the waiter may start, fail and cancel the call. Any of them may deliver the result.

create table captionacc.compute_calls (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid references captionacc.videos (id) on delete cascade,
    run_id text not null,
    function_name text not null,
    backend text not null check (backend in ('local', 'modal')),
    request_hash text not null,
    call_id text,
    status text not null default 'pending'
        check (status in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    result jsonb,
    error_details jsonb,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiter uuid,
    opened_at timestamptz not null default now(),
    attempts integer not null default 1 check (attempts >= 1),
    cropped_frames_version integer check (cropped_frames_version >= 1),
    usage jsonb check (jsonb_typeof(usage) = 'object'),
    finished_by uuid,
    settled_at timestamptz,
    cancel_delivered_at timestamptz,
    cost_usd numeric check (cost_usd >= 0),
    charged_at timestamptz,
    constraint compute_calls_running check (status <> 'running' or call_id is not null),
    constraint compute_calls_succeeded check (status <> 'succeeded' or result is not null),
    constraint compute_calls_finished check ((status in ('pending', 'running')) = (finished_at is null)),
    constraint compute_calls_charged check ((cost_usd is null) = (charged_at is null))
);
comment on table captionacc.compute_calls is
    'Calls of compute functions, written before anything waits for them, so that a retried run finds a '
    'running call.';
comment on column captionacc.compute_calls.call_id is
    'The backend''s id of the call; null until it is known.';
comment on column captionacc.compute_calls.request_hash is
    'Equal for equal requests: a retry finds the call by it.';
comment on column captionacc.compute_calls.run_id is 'The run that waits for the call, or waited last.';
comment on column captionacc.compute_calls.waiter is
    'Token of the attempt that waits for the call, or waited last.';
comment on column captionacc.compute_calls.opened_at is
    'When the last attempt that may start the call requested it.';
comment on column captionacc.compute_calls.attempts is
    'Number of attempts that requested the call; it is paid once.';
comment on column captionacc.compute_calls.cropped_frames_version is
    'The version that the call writes or reads. A version can have many calls, one for each segment.';
comment on column captionacc.compute_calls.usage is
    'What the function reported as used: gpu, seconds, cold_start_seconds. Null if it reported nothing.';
comment on column captionacc.compute_calls.finished_by is 'Waiter that delivered the result.';
comment on column captionacc.compute_calls.settled_at is
    'When the results that depend on the call were published: the same request is a new call from then '
    'on.';
comment on column captionacc.compute_calls.cancel_delivered_at is
    'When the backend confirmed a cancellation; until then the call may still run.';
comment on column captionacc.compute_calls.cost_usd is
    'Cost of the call by the price table; its row in usage_metrics has the amounts.';
create index compute_calls_by_video on captionacc.compute_calls (video_id);
create unique index compute_calls_open on captionacc.compute_calls (video_id, function_name, request_hash)
    where status in ('pending', 'running');
create index compute_calls_to_take on captionacc.compute_calls (video_id, function_name, request_hash)
    where status = 'succeeded' and settled_at is null;
create unique index compute_calls_by_call_id on captionacc.compute_calls (backend, call_id) where call_id is not null;
create index compute_calls_open_by_run on captionacc.compute_calls (run_id) where status in ('pending', 'running');
create index compute_calls_undelivered on captionacc.compute_calls (finished_at)
    where status = 'cancelled' and call_id is not null and cancel_delivered_at is null;
create index compute_calls_uncharged on captionacc.compute_calls (finished_at)
    where finished_at is not null and charged_at is null and backend = 'modal';
alter table captionacc.compute_calls enable row level security;

-- schemas/tables/costs.sql

-- Costs of remote compute: reservations before calls and charges after them.
--
-- The cost of a video, or of a tenant's month, is the sum of what was charged (usage_metrics) and what is
-- reserved for running work. A reservation is checked and written while its tenant's row is locked, so that
-- concurrent runs cannot both reserve the rest of a limit. Amounts are in US dollars.

create table captionacc.usage_metrics (
    id bigint generated always as identity primary key,
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid references captionacc.videos (id) on delete set null,
    metric_type text not null check (metric_type ~ '^[a-z][a-z0-9_]{0,63}$'),
    metric_value numeric not null,
    cost_estimate_usd numeric check (cost_estimate_usd >= 0),
    metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    recorded_at timestamptz not null default now()
);
comment on table captionacc.usage_metrics is
    'What tenants used, one row for each amount, such as the processing minutes of one call.';
create index usage_metrics_by_tenant on captionacc.usage_metrics (tenant_id, metric_type, recorded_at);
create index usage_metrics_by_video on captionacc.usage_metrics (video_id) where video_id is not null;
-- Costs of the current month: a tenant may have hundreds of thousands of rows.
create index usage_metrics_costs on captionacc.usage_metrics (recorded_at) include (tenant_id, cost_estimate_usd)
    where cost_estimate_usd is not null;
create index usage_metrics_tenant_costs on captionacc.usage_metrics (tenant_id, recorded_at)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_video_costs on captionacc.usage_metrics (video_id)
    include (cost_estimate_usd) where cost_estimate_usd > 0;
create index usage_metrics_by_time on captionacc.usage_metrics (recorded_at)
    where metric_type in ('container_seconds', 'processing_minutes');
alter table captionacc.usage_metrics enable row level security;

create table captionacc.cost_reservations (
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    function_name text not null check (function_name <> ''),
    tenant_id uuid not null references captionacc.tenants (id),
    run_id text not null check (run_id <> ''),
    amount_usd numeric not null check (amount_usd >= 0),
    reserved_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    primary key (video_id, function_name)
);
comment on table captionacc.cost_reservations is
    'Expected cost of running work, from before its first call until its calls are charged.';
comment on column captionacc.cost_reservations.expires_at is
    'The reservation does not count after this: its run died, and no other run took over its calls.';
create index cost_reservations_by_tenant on captionacc.cost_reservations (tenant_id);
alter table captionacc.cost_reservations enable row level security;

-- schemas/tables/backfills.sql

-- Backfills process finished videos again with another extents model. The rows in videos do not change until
-- a run begins; the waiting videos are listed here and handed out a few at a time.

create table captionacc.backfills (
    id uuid primary key,
    model_version text not null check (model_version <> ''),
    conditions jsonb not null default '{}' check (jsonb_typeof(conditions) = 'object'),
    requested_by text not null check (requested_by <> ''),
    skipped jsonb not null default '{}' check (jsonb_typeof(skipped) = 'object'),
    created_at timestamptz not null default clock_timestamp(),
    cancelled_at timestamptz
);
comment on table captionacc.backfills is
    'Requests to process finished videos again with another extents model.';
comment on column captionacc.backfills.conditions is
    'The conditions by which videos were selected; see request_backfill.';
comment on column captionacc.backfills.skipped is
    'Numbers of videos that matched the conditions and were not selected, by reason.';
alter table captionacc.backfills enable row level security;

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
comment on table captionacc.backfill_videos is
    'Videos selected by a backfill, queued until they are on the model or cannot be.';
comment on column captionacc.backfill_videos.turn is
    'Place within the tenant: each tenant''s first video comes before any second one.';
comment on column captionacc.backfill_videos.asked_for_at is
    'Time of the first claim; requested_at is that of the last one.';
comment on column captionacc.backfill_videos.detail is 'Why the video was skipped, or how it failed.';
create unique index backfill_videos_open on captionacc.backfill_videos (video_id) where status = 'queued';
create index backfill_videos_new on captionacc.backfill_videos (turn, backfill_id, video_id)
    where status = 'queued' and requested_at is null;
create index backfill_videos_handed_out on captionacc.backfill_videos (requested_at)
    where status = 'queued' and requested_at is not null;
alter table captionacc.backfill_videos enable row level security;

-- schemas/tables/stage_outcomes.sql

create table captionacc.stage_outcomes (
    id bigint generated always as identity primary key,
    occurred_at timestamptz not null default clock_timestamp(),
    tenant_id uuid not null,
    video_id uuid not null,
    stage text not null check (stage in ('layout', 'boundaries', 'text')),
    outcome text not null check (outcome in ('finished', 'error')),
    error_type text not null default '',
    run_id text,
    seconds double precision check (seconds >= 0)
);
comment on table captionacc.stage_outcomes is
    'How each attempt at a stage ended. Rows are only added, outlive the videos that they name, and are '
    'purged by age.';
comment on column captionacc.stage_outcomes.seconds is
    'From the run''s start of the stage to its end; null if no run began it.';
create index stage_outcomes_by_time on captionacc.stage_outcomes (occurred_at, id);
create index stage_outcomes_errors on captionacc.stage_outcomes (occurred_at) where outcome = 'error';
create index stage_outcomes_by_tenant on captionacc.stage_outcomes (tenant_id, occurred_at);
alter table captionacc.stage_outcomes enable row level security;

-- schemas/functions/backfills/_backfill_candidates.sql

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

-- schemas/functions/backfills/_backfill_verdict.sql

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

-- schemas/functions/backfills/_check_backfill.sql

create or replace function captionacc._check_backfill(p_model_version text, p_conditions jsonb, p_limit integer) returns void
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
            raise exception 'condition % is not a list of texts', condition.key using errcode = 'CA010';
        end if;
        if condition.key = 'status' and not condition.value <@ '["ready", "reviewed"]' then
            raise exception 'status % is not ready or reviewed', condition.value using errcode = 'CA010';
        end if;
    end loop;
end
$$;

-- schemas/functions/backfills/_extents_model.sql

create or replace function captionacc._extents_model(p_video_id uuid, p_version integer) returns text
language sql stable
set search_path = captionacc, pg_temp
as $$
    select model_version from caption_frame_extents_inference_runs
    where video_id = p_video_id and cropped_frames_version = p_version
    order by completed_at desc, created_at desc limit 1
$$;
comment on function captionacc._extents_model(uuid, integer) is
    'Return the model that last labelled a cropped-frames version: the one whose database is in the '
    'bucket.';

-- schemas/functions/backfills/cancel_backfill.sql

create or replace function captionacc.cancel_backfill(p_backfill_id uuid) returns bigint
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
    'Stop requesting runs for a backfill and return the number of videos that were still queued. Running '
    'runs continue; runs that have not started do nothing.';

-- schemas/functions/backfills/claim_backfill_videos.sql

create or replace function captionacc.claim_backfill_videos(
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
        select c.backfill_id, c.video_id, c.tenant_id, f.model_version, v.size_bytes, f.requested_by, f.created_at
        from claimed c join backfills f on f.id = c.backfill_id join videos v on v.id = c.video_id
        order by c.turn, c.backfill_id, c.video_id;
end
$$;
comment on function captionacc.claim_backfill_videos(integer, double precision, integer, integer) is
    'Claim queued videos, taking tenants in turn, until p_at_once are handed out and unfinished. Videos '
    'that were handed out more than p_restart_after_seconds ago and that no run has begun are claimed '
    'again. First records the outcome of the videos already handed out.';

-- schemas/functions/backfills/end_backfill_video.sql

create or replace function captionacc.end_backfill_video(p_backfill_id uuid, p_video_id uuid, p_message text) returns boolean
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
    'Record that the run for a backfill''s video failed or was cancelled. Returns false if the video has '
    'already ended or was not handed out.';

-- schemas/functions/backfills/list_backfills.sql

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

-- schemas/functions/backfills/purge_backfills.sql

create or replace function captionacc.purge_backfills(
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
    'Delete finished backfills requested more than p_older_than_seconds ago; a dry run only counts them.';

-- schemas/functions/backfills/request_backfill.sql

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

-- schemas/functions/caption_ocr/_cancel_outdated_ocr_requests.sql

create or replace function captionacc._cancel_outdated_ocr_requests() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- The requests name captions that are about to be replaced, or a deleted video.
    update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
    where video_id = new.id and status in ('queued', 'processing');
    return null;
end
$$;

-- schemas/functions/caption_ocr/_end_caption_ocr_request.sql

create or replace function captionacc._end_caption_ocr_request(
    p_request_id uuid, p_run_id text, p_status text, p_count integer, p_message text
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    if request.status = p_status and request.run_id = p_run_id then
        return request;
    end if;
    if request.status <> 'processing' or request.run_id is distinct from p_run_id then
        raise exception 'run % does not work on caption OCR request %, which is %', coalesce(p_run_id, 'null'),
            p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = p_status, finished_at = clock_timestamp(), caption_count = p_count,
        error_message = p_message
    where id = p_request_id returning * into result;
    return result;
end
$$;

-- schemas/functions/caption_ocr/_locked_ocr_request.sql

create or replace function captionacc._locked_ocr_request(p_request_id uuid) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found caption_ocr_requests;
begin
    select * into found from caption_ocr_requests where id = p_request_id for update;
    if found.id is null then
        raise exception 'caption OCR request % is not in the catalogue', p_request_id using errcode = 'CA012';
    end if;
    return found;
end
$$;

-- schemas/functions/caption_ocr/begin_caption_ocr_request.sql

create or replace function captionacc.begin_caption_ocr_request(p_request_id uuid, p_run_id text)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    request caption_ocr_requests := _locked_ocr_request(p_request_id);
    result caption_ocr_requests;
begin
    perform _check_text(p_run_id, 'the run id');
    if request.status = 'processing' and request.run_id = p_run_id then
        return request;
    end if;
    -- A run takes over from one that died.
    if request.status not in ('queued', 'processing') then
        raise exception 'caption OCR request % is %', p_request_id, request.status using errcode = 'CA002';
    end if;
    update caption_ocr_requests set status = 'processing', run_id = p_run_id, started_at = clock_timestamp(),
        unstarted_requests = 0
    where id = p_request_id returning * into result;
    return result;
end
$$;
comment on function captionacc.begin_caption_ocr_request(uuid, text) is
    'Make a run the worker of a request and displace any other run. CA002 if the request has ended.';

-- schemas/functions/caption_ocr/claim_caption_ocr_requests.sql

create or replace function captionacc.claim_caption_ocr_requests(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    if p_tenant_limit is not null and p_tenant_limit < 1 then
        raise exception 'a limit of % for a tenant is not usable', p_tenant_limit using errcode = 'CA010';
    end if;
    update caption_ocr_requests r set status = 'failed', finished_at = clock_timestamp(),
        error_message = format('requested %s times, but no run began', r.unstarted_requests)
    where r.status = 'queued' and r.requested_at < stale and r.unstarted_requests >= p_max_unstarted;
    return query
        with turns as (
            select r.id, row_number() over (partition by r.tenant_id order by r.created_at, r.id) + (
                select count(*) from caption_ocr_requests a
                where a.tenant_id = r.tenant_id and a.status = 'queued' and a.requested_at >= stale
            ) as turn, r.requested_at, r.created_at
            from caption_ocr_requests r
            where r.status = 'queued' and (r.requested_at is null or r.requested_at < stale)
        ), chosen as (
            select id from turns where turn <= coalesce(p_tenant_limit, 10000) or requested_at is not null
            order by turn, created_at, id limit p_limit
        ), picked as materialized (
            select r.id from caption_ocr_requests r
            where r.id in (select id from chosen) and r.status = 'queued'
                and (r.requested_at is null or r.requested_at < stale)
            for update skip locked
        ), claimed as (
            update caption_ocr_requests r
            set requested_at = clock_timestamp(), unstarted_requests = r.unstarted_requests + 1,
                attempts = r.attempts + (r.unstarted_requests = 0)::integer
            from picked where r.id = picked.id
            returning r.*
        )
        select * from claimed order by created_at, id;
end
$$;
comment on function captionacc.claim_caption_ocr_requests(integer, double precision, integer, integer) is
    'Claim requests without a run, taking tenants in turn. Claims are repeated like those of new videos.';

-- schemas/functions/caption_ocr/fail_caption_ocr_request.sql

create or replace function captionacc.fail_caption_ocr_request(p_request_id uuid, p_run_id text, p_message text)
returns captionacc.caption_ocr_requests
language sql
set search_path = captionacc, pg_temp
as $$
    select * from _end_caption_ocr_request(p_request_id, p_run_id, 'failed', null,
        left(coalesce(nullif(p_message, ''), 'no message'), 4000))
$$;
comment on function captionacc.fail_caption_ocr_request(uuid, text, text) is
    'Mark a request as failed after the last attempt. CA002 if the run is not its worker.';

-- schemas/functions/caption_ocr/finish_caption_ocr_request.sql

create or replace function captionacc.finish_caption_ocr_request(p_request_id uuid, p_run_id text, p_caption_count integer)
returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    return _end_caption_ocr_request(p_request_id, p_run_id, 'completed', p_caption_count, null);
end
$$;
comment on function captionacc.finish_caption_ocr_request(uuid, text, integer) is
    'Mark a request as completed: the text is published. CA002 if the run is not its worker.';

-- schemas/functions/caption_ocr/request_caption_ocr.sql

create or replace function captionacc.request_caption_ocr(
    p_video_id uuid, p_caption_ids bigint[] default null, p_requested_by text default 'service'
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    wanted bigint[];
    result caption_ocr_requests;
begin
    perform _check_text(p_requested_by, 'who asks');
    if video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    if p_caption_ids is not null then
        select array_agg(distinct id order by id) into wanted from unnest(p_caption_ids) id;
        if wanted is null or cardinality(p_caption_ids) > 10000
            or exists (select from unnest(p_caption_ids) id where id is null or id < 1)
        then
            raise exception 'caption ids % are not usable', left(p_caption_ids::text, 100)
                using errcode = 'CA010', hint = 'Give 1 to 10000 ids of captions, or null for all of them.';
        end if;
    end if;
    -- A repeated request changes nothing.
    select * into result from caption_ocr_requests
    where video_id = p_video_id and status = 'queued' and caption_ids is not distinct from wanted
        and cropped_frames_version = video.current_cropped_frames_version;
    if result.id is not null then
        return result;
    end if;
    insert into caption_ocr_requests (tenant_id, video_id, cropped_frames_version, caption_ids, requested_by)
    values (video.tenant_id, p_video_id, video.current_cropped_frames_version, wanted, p_requested_by)
    returning * into result;
    return result;
end
$$;
comment on function captionacc.request_caption_ocr(uuid, bigint[], text) is
    'Request new OCR of some captions, or of all captions (null). CA002 if the video has no captions yet.';

-- schemas/functions/checks/_check_claim.sql

create or replace function captionacc._check_claim(p_limit integer, p_restart_after_seconds double precision, p_max integer)
returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception 'limit % is not in [1, 10000]', p_limit using errcode = 'CA010';
    end if;
    if p_restart_after_seconds is null or not p_restart_after_seconds >= 0 or p_max is null or p_max < 1 then
        raise exception 'restart after % s at most % times is not usable', p_restart_after_seconds, p_max
            using errcode = 'CA010';
    end if;
end
$$;

-- schemas/functions/checks/_check_crop_region.sql

create or replace function captionacc._check_crop_region(p_crop_region jsonb) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_crop_region(p_crop_region) then
        raise exception 'crop region % is not usable', coalesce(p_crop_region::text, 'null')
            using errcode = 'CA003',
                hint = 'Give crop_left < crop_right and crop_top < crop_bottom, all in [0, 1], '
                    'at least 0.01 apart.';
    end if;
end
$$;

-- schemas/functions/checks/_check_limits.sql

create or replace function captionacc._check_limits(
    p_storage_quota_bytes bigint, p_video_count_limit integer, p_processing_minutes_limit numeric,
    p_daily_upload_limit integer
) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if least(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit, p_daily_upload_limit) < 0 then
        raise exception 'a limit is negative' using errcode = 'CA010', hint = 'Null is no limit.';
    end if;
end
$$;

-- schemas/functions/checks/_check_new_storage_key.sql

create or replace function captionacc._check_new_storage_key() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_storage_key(new.storage_key, new.tenant_id);
    return new;
end
$$;

-- schemas/functions/checks/_check_sha256.sql

create or replace function captionacc._check_sha256(p_sha256 text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_sha256 is null or p_sha256 !~ '^[0-9a-f]{64}$' then
        raise exception '% is not a SHA-256 in hexadecimal digits', coalesce(quote_literal(left(p_sha256, 80)), 'null')
            using errcode = 'CA010';
    end if;
end
$$;

-- schemas/functions/checks/_check_stage.sql

create or replace function captionacc._check_stage(p_stage text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_stage is null or p_stage not in ('layout', 'boundaries', 'text') then
        raise exception 'stage % is not layout, boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010';
    end if;
end
$$;

-- schemas/functions/checks/_check_storage_key.sql

create or replace function captionacc._check_storage_key(p_key text, p_tenant_id uuid) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_storage_key(p_key, p_tenant_id) then
        raise exception 'storage key % is not a key inside the tenant''s prefix %/',
            coalesce(quote_literal(left(clean_name(p_key), 200)), 'null'), p_tenant_id
            using errcode = 'CA010', hint = 'Give one such as client/videos/ID/video.mp4 in it, of at most 900 bytes.';
    end if;
end
$$;

-- schemas/functions/checks/_check_text.sql

create or replace function captionacc._check_text(p_value text, p_name text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if coalesce(p_value, '') = '' then
        raise exception '% is empty', p_name using errcode = 'CA010';
    end if;
end
$$;

-- schemas/functions/checks/_clean_display_path.sql

create or replace function captionacc._clean_display_path() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    new.display_path := clean_name(new.display_path);
    return new;
end
$$;

-- schemas/functions/checks/_error_details.sql

create or replace function captionacc._error_details(p_message text, p_error_type text, p_run_id text, p_attempt integer)
returns jsonb
language sql stable
set search_path = captionacc, pg_temp
as $$
    select jsonb_build_object(
        'message', left(coalesce(nullif(p_message, ''), 'no message'), 4000),
        'error_type', coalesce(p_error_type, ''),
        'run_id', p_run_id,
        'attempt', p_attempt,
        'failed_at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )
$$;

-- schemas/functions/checks/clean_name.sql

create or replace function captionacc.clean_name(p_name text) returns text
language plpgsql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
begin
    if getdatabaseencoding() = 'UTF8' then
        -- Control characters, line breaks and bidirectional overrides would garble terminals and logs.
        return left(regexp_replace(normalize(p_name, nfc),
            '[\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]', chr(65533), 'g'), 1024);
    end if;
    return left(regexp_replace(p_name, '[\x01-\x1f\x7f]', '?', 'g'), 1024);
end
$$;
comment on function captionacc.clean_name(text) is
    'Return a name as it is stored and searched: NFC, each control character, line break and '
    'bidirectional override replaced by U+FFFD, at most 1024 characters.';

-- schemas/functions/checks/is_storage_key.sql

create or replace function captionacc.is_storage_key(p_key text, p_tenant_id uuid) returns boolean
language sql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
    select coalesce(
        starts_with(p_key, p_tenant_id::text || '/')
        and octet_length(p_key) <= 900
        and p_key !~ '(^|/)\.{0,2}(/|$)'
        and p_key !~ '[\\\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]',
        false)
$$;
comment on function captionacc.is_storage_key(text, uuid) is
    'Return whether the key is in the tenant''s prefix, has at most 900 bytes and no empty, ''.'' or ''..'' '
    'part, backslash, control character, line break or bidirectional override.';

-- schemas/functions/checks/touch_updated_at.sql

create or replace function captionacc.touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;

-- schemas/functions/claims/_accept_layouts.sql

create or replace function captionacc._accept_layouts(p_video_ids uuid[]) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    refusal record;
    accepted uuid[] := p_video_ids;
    tenant uuid;
    more_videos integer;
    more_bytes bigint;
begin
    if coalesce(cardinality(p_video_ids), 0) = 0 then
        return;
    end if;
    -- All claims change tenants' counters in one order, so that they cannot deadlock.
    perform from tenants
    where id in (select v.tenant_id from videos v where v.id = any (p_video_ids) and v.accepted_at is null)
    order by id for no key update;
    for video in
        select v.* from videos v, lateral tenant_limits(v.tenant_id) l
        where v.id = any (p_video_ids) and v.accepted_at is null
            and num_nonnulls(l.storage_quota_bytes, l.video_count_limit, l.processing_minutes_limit,
                l.daily_upload_limit) > 0
        order by v.tenant_id, v.uploaded_at, v.id
    loop
        if video.tenant_id is distinct from tenant then
            tenant := video.tenant_id;
            more_videos := 0;
            more_bytes := 0;
        end if;
        select * into refusal from _quota_refusal(video, more_videos, more_bytes);
        if refusal.rejection_type is null then
            more_videos := more_videos + 1;
            more_bytes := more_bytes + video.size_bytes;
        else
            accepted := array_remove(accepted, video.id);
            perform record_rejection(video.tenant_id, refusal.rejection_type, refusal.message, video.id);
            update videos set layout_status = 'error',
                layout_error_details = _error_details(refusal.message, 'QuotaExceededError', null,
                    video.layout_attempts)
            where id = video.id;
        end if;
    end loop;
    return query
        with claimed as (
            update videos v
            set layout_requested_at = clock_timestamp(), accepted_at = coalesce(v.accepted_at, clock_timestamp()),
                -- A repeated claim is the same attempt, so that a run created for the first claim can tell
                -- it from new work.
                layout_attempts = v.layout_attempts + (v.layout_unstarted_requests = 0)::integer,
                layout_unstarted_requests = v.layout_unstarted_requests + 1
            where v.id = any (accepted)
            returning v.*
        )
        select * from claimed order by uploaded_at, id;
end
$$;
comment on function captionacc._accept_layouts(uuid[]) is
    'Claim videos that the caller has locked. Videos over their tenant''s quota end in an error instead.';

-- schemas/functions/claims/_claimable.sql

create or replace function captionacc._claimable(
    p_stage text, p_limit integer, p_stale timestamptz, p_tenant_limit integer
) returns uuid[]
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    age text := case p_stage when 'layout' then 'uploaded_at' when 'boundaries' then 'layout_approved_at'
        else 'boundaries_finished_at' end;
    waiting text := format(
        '%1$s_status = ''wait'' and %1$s_run_id is null and deleted_at is null and %2$s', p_stage,
        case p_stage when 'layout' then 'uploaded_at is not null' when 'boundaries' then 'layout_status = ''done'''
            else 'boundaries_status in (''annotate'', ''done'')' end);
    share record;
    batch uuid[];
    picked uuid[] := '{}';
begin
    if p_tenant_limit is not null and p_tenant_limit < 1 then
        raise exception 'a limit of % for a tenant is not usable', p_tenant_limit using errcode = 'CA010';
    end if;
    for share in execute format(
        $sql$
        -- Skip from tenant to tenant through the index, so that a tenant's long queue costs no more than a short one.
        with recursive tenants_waiting as (
            (select tenant_id from videos where %2$s and %1$s_requested_at is null order by tenant_id limit 1)
            union all
            select (
                select v.tenant_id from videos v
                where %2$s and %1$s_requested_at is null and v.tenant_id > t.tenant_id
                order by v.tenant_id limit 1
            )
            from tenants_waiting t where t.tenant_id is not null
        ), turns as (
            select t.tenant_id, asked.number + turn as turn, fresh.since
            from tenants_waiting t,
            lateral (
                -- A video that is claimed again and again never gets a run: it must not block the others.
                select count(*) as number from videos v
                where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is not null
                    and %1$s_unstarted_requests <= 4
            ) asked,
            lateral (
                select count(*) as number, min(since) as since from (
                    select %3$s as since from videos v
                    where v.tenant_id = t.tenant_id and %2$s and %1$s_requested_at is null
                    order by %3$s, id limit $1
                ) oldest
            ) fresh,
            lateral generate_series(1, least(fresh.number, coalesce($2, 10000) - asked.number)) turn
            where t.tenant_id is not null
        )
        select tenant_id, count(*) as number
        from (select tenant_id from turns order by turn, since, tenant_id limit $1) next
        group by tenant_id
        $sql$, p_stage, waiting, age)
    using p_limit, p_tenant_limit
    loop
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where tenant_id = $1 and %2$s and %1$s_requested_at is null
                order by %3$s, id limit $2
                for update skip locked
            ) oldest
            $sql$, p_stage, waiting, age)
        into batch using share.tenant_id, share.number;
        picked := picked || batch;
    end loop;
    if cardinality(picked) < p_limit then
        execute format(
            $sql$
            select coalesce(array_agg(id), '{}') from (
                select id from videos
                where %2$s and %1$s_requested_at < $1
                order by %1$s_requested_at, %3$s, id limit $2
                for update skip locked
            ) unstarted
            $sql$, p_stage, waiting, age)
        into batch using p_stale, p_limit - cardinality(picked);
        picked := picked || batch;
    end if;
    return picked;
end
$$;
comment on function captionacc._claimable(text, integer, timestamptz, integer) is
    'Lock and return the videos that wait for a run of a stage. First those never claimed, taking tenants '
    'in turn and oldest first, with at most p_tenant_limit of a tenant''s claims waiting for runs; then '
    'those claimed before p_stale that no run has begun.';

-- schemas/functions/claims/_give_up_unstarted.sql

create or replace function captionacc._give_up_unstarted(
    p_stage text, p_limit integer, p_before timestamptz, p_max_unstarted integer
) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    execute format(
        $sql$
        with given_up as materialized (
            select id from videos
            -- All conditions of the stage's partial index, so that the index is used.
            where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null and %2$s
                and %1$s_requested_at < $1 and %1$s_unstarted_requests >= $2
            order by %1$s_requested_at limit $3
            for update skip locked
        )
        update videos v
        set %1$s_status = 'error',
            %1$s_error_details = _error_details(
                format('requested %%s times, but no run began: check the orchestrator''s queue and daemon',
                    v.%1$s_unstarted_requests),
                'NotStartedError', null, v.%1$s_attempts)
        from given_up where v.id = given_up.id
        $sql$,
        p_stage,
        case p_stage
            when 'layout' then 'uploaded_at is not null'
            when 'boundaries' then 'layout_status = ''done'''
            when 'text' then 'boundaries_status in (''annotate'', ''done'')'
        end)
    using p_before, p_max_unstarted, p_limit;
end
$$;

-- schemas/functions/claims/_notify_work.sql

create or replace function captionacc._notify_work() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- A channel's name has at most 63 bytes.
    channel text := left(tg_table_schema, 58) || '_work';
begin
    if new.deleted_at is null and new.layout_status = 'wait' and new.layout_run_id is null
        and new.uploaded_at is not null and new.layout_requested_at is null
    then
        perform pg_notify(channel, json_build_object('stage', 'layout', 'video_id', new.id)::text);
    elsif new.deleted_at is null and new.layout_status = 'done' and new.boundaries_status = 'wait'
        and new.boundaries_run_id is null and new.boundaries_requested_at is null
    then
        perform pg_notify(channel, json_build_object('stage', 'boundaries', 'video_id', new.id)::text);
    end if;
    return null;
end
$$;
comment on function captionacc._notify_work() is
    'Notify the channel <schema>_work that a stage of a video waits for a run.';

-- schemas/functions/claims/claim_layout_approval.sql

create or replace function captionacc.claim_layout_approval(
    p_video_id uuid, p_restart_after_seconds double precision default 3600
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(1, p_restart_after_seconds, 1);
    return query
        with picked as materialized (
            select id from videos
            where id = p_video_id and boundaries_status = 'wait' and boundaries_run_id is null
                and layout_status = 'done' and deleted_at is null
                and (boundaries_requested_at is null
                    or boundaries_requested_at < clock_timestamp() - make_interval(secs => p_restart_after_seconds))
            for update skip locked
        )
        update videos v
        set boundaries_requested_at = clock_timestamp(),
            boundaries_attempts = v.boundaries_attempts + (v.boundaries_unstarted_requests = 0)::integer,
            boundaries_unstarted_requests = v.boundaries_unstarted_requests + 1
        from picked where v.id = picked.id
        returning v.*;
end
$$;
comment on function captionacc.claim_layout_approval(uuid, double precision) is
    'Claim the approved layout of one video, as pending_layout_approvals does. No row if it cannot be '
    'claimed.';

-- schemas/functions/claims/claim_new_video.sql

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

-- schemas/functions/claims/claim_new_videos.sql

create or replace function captionacc.claim_new_videos(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('layout', p_limit, stale, p_max_unstarted);
    return query select * from _accept_layouts(_claimable('layout', p_limit, stale, p_tenant_limit));
end
$$;
comment on function captionacc.claim_new_videos(integer, double precision, integer, integer) is
    'Claim uploaded videos for layout, taking tenants in turn and oldest first. Videos claimed more than '
    'p_restart_after_seconds ago that no run has begun are claimed again, up to p_max_unstarted times. At '
    'most p_tenant_limit of a tenant''s claims wait for runs at a time. A video over its tenant''s quota '
    'ends in the error QuotaExceededError with a recorded rejection; a retry checks the quota again.';

-- schemas/functions/claims/pending_layout_approvals.sql

create or replace function captionacc.pending_layout_approvals(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
    picked uuid[];
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('boundaries', p_limit, stale, p_max_unstarted);
    picked := _claimable('boundaries', p_limit, stale, p_tenant_limit);
    return query
        with claimed as (
            update videos v
            set boundaries_requested_at = clock_timestamp(),
                boundaries_attempts = v.boundaries_attempts + (v.boundaries_unstarted_requests = 0)::integer,
                boundaries_unstarted_requests = v.boundaries_unstarted_requests + 1
            where v.id = any (picked)
            returning v.*
        )
        select * from claimed order by layout_approved_at, id;
end
$$;
comment on function captionacc.pending_layout_approvals(integer, double precision, integer, integer) is
    'Claim approved layouts whose crop region has not been processed. Claims are repeated like those of '
    'new videos.';

-- schemas/functions/claims/pending_text.sql

create or replace function captionacc.pending_text(
    p_limit integer default 50,
    p_restart_after_seconds double precision default 3600,
    p_max_unstarted integer default 5,
    p_tenant_limit integer default null
) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    stale timestamptz := clock_timestamp() - make_interval(secs => p_restart_after_seconds);
    picked uuid[];
begin
    perform _check_claim(p_limit, p_restart_after_seconds, p_max_unstarted);
    perform _give_up_unstarted('text', p_limit, stale, p_max_unstarted);
    picked := _claimable('text', p_limit, stale, p_tenant_limit);
    return query
        with claimed as (
            update videos v
            set text_requested_at = clock_timestamp(),
                text_attempts = v.text_attempts + (v.text_unstarted_requests = 0)::integer,
                text_unstarted_requests = v.text_unstarted_requests + 1
            where v.id = any (picked)
            returning v.*
        )
        select * from claimed order by boundaries_finished_at, id;
end
$$;
comment on function captionacc.pending_text(integer, double precision, integer, integer) is
    'Claim videos with captions whose text needs a run of its own: after a retry, or when the run that '
    'found the captions did not continue with the text in time.';

-- schemas/functions/claims/return_claims.sql

create or replace function captionacc.return_claims(
    p_kind text,
    p_claims jsonb,
    p_restart_after_seconds double precision default 3600,
    p_again_after_seconds double precision default 0
) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- A time in the past lets the next claim take it; otherwise the claim expires after that many seconds.
    claimed_at timestamptz := case when p_again_after_seconds <= 0 then '1970-01-01Z'
        else clock_timestamp() - make_interval(secs => p_restart_after_seconds - p_again_after_seconds) end;
    returned integer;
begin
    if p_kind is null or p_kind not in ('layout', 'boundaries', 'text', 'request', 'backfill') then
        raise exception 'claims of kind % are not known', coalesce(p_kind, 'null') using errcode = 'CA010';
    elsif jsonb_typeof(p_claims) is distinct from 'object' or p_again_after_seconds is null
        or p_restart_after_seconds is null or not p_restart_after_seconds between 0 and 1e9
        or not p_again_after_seconds between 0 and p_restart_after_seconds
    then
        raise exception 'claims must be an object, and the time must be between 0 and the claim''s' using errcode = 'CA010';
    end if;
    -- The attempt stays, so that its run key finds a run that was created after all. The count of claims goes back by
    -- one, but not to zero, which would begin another attempt.
    if p_kind = 'request' then
        update caption_ocr_requests r
        set requested_at = claimed_at, unstarted_requests = greatest(r.unstarted_requests - 1, 1)
        from jsonb_each_text(p_claims) c
        where r.id = c.key::uuid and r.attempts = c.value::integer and r.status = 'queued'
            and r.requested_at is not null and r.unstarted_requests > 0;
    elsif p_kind = 'backfill' then
        update backfill_videos b
        set requested_at = claimed_at, unstarted_requests = greatest(b.unstarted_requests - 1, 1)
        from jsonb_each_text(p_claims) c, videos v
        where b.video_id = c.key::uuid and b.backfill_id = c.value::uuid and b.status = 'queued'
            and b.requested_at is not null and v.id = b.video_id
            and coalesce(v.boundaries_started_at < b.asked_for_at, true);
    else
        execute format(
            $sql$
            update videos v
            set %1$s_requested_at = $2, %1$s_unstarted_requests = greatest(v.%1$s_unstarted_requests - 1, 1)
            from jsonb_each_text($1) c
            where v.id = c.key::uuid and v.%1$s_attempts = c.value::integer and v.%1$s_status = 'wait'
                and v.%1$s_run_id is null and v.%1$s_requested_at is not null and v.%1$s_unstarted_requests > 0
            $sql$, p_kind)
        using p_claims, claimed_at;
    end if;
    get diagnostics returned = row_count;
    return returned;
end
$$;
comment on function captionacc.return_claims(text, jsonb, double precision, double precision) is
    'Return claims for which no run was created. They can be claimed again, at once or after '
    'p_again_after_seconds, as the same attempt. p_kind is a stage, request or backfill; p_claims maps '
    'the ids of videos (or requests) to attempts (or, for a backfill, to its id). Claims that a run has '
    'begun, that have ended or that belong to another attempt are ignored.';

-- schemas/functions/compute_calls/_locked_compute_call.sql

create or replace function captionacc._locked_compute_call(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
begin
    select * into found from compute_calls where id = p_id for update;
    if found.id is null then
        raise exception 'compute call % is not in the catalogue', coalesce(p_id::text, 'null') using errcode = 'CA012';
    end if;
    return found;
end
$$;

-- schemas/functions/compute_calls/assign_compute_call.sql

create or replace function captionacc.assign_compute_call(p_id uuid, p_waiter uuid, p_call_id text)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    perform _check_text(p_call_id, 'the call id');
    if found.status = 'running' and found.call_id = p_call_id then
        return found;
    end if;
    if found.status <> 'pending' or found.waiter is distinct from p_waiter then
        raise exception 'compute call % is % and may not be started by this attempt', p_id, found.status
            using errcode = 'CA002';
    end if;
    update compute_calls set status = 'running', call_id = p_call_id, started_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.assign_compute_call(uuid, uuid, text) is
    'Record the backend''s id of a started call: pending to running. CA002 if another attempt starts the '
    'call or it is no longer wanted; the caller must then cancel what it started.';

-- schemas/functions/compute_calls/cancel_compute_call.sql

create or replace function captionacc.cancel_compute_call(p_id uuid, p_waiter uuid default null, p_message text default '')
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or (p_waiter is not null and found.waiter is distinct from p_waiter)
    then
        return found;
    end if;
    update compute_calls
    set status = 'cancelled', finished_at = clock_timestamp(),
        error_details = _error_details(p_message, 'CancelledError', run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.cancel_compute_call(uuid, uuid, text) is
    'Cancel an open call. If a waiter is given, only its own call is cancelled, because another attempt '
    'may want the result. The backend stops it afterwards; see confirm_compute_call_cancelled.';

-- schemas/functions/compute_calls/confirm_compute_call_cancelled.sql

create or replace function captionacc.confirm_compute_call_cancelled(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status <> 'cancelled' then
        raise exception 'compute call % is %, not cancelled', p_id, found.status using errcode = 'CA002';
    end if;
    update compute_calls set cancel_delivered_at = coalesce(cancel_delivered_at, clock_timestamp())
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.confirm_compute_call_cancelled(uuid) is
    'Record that the backend has stopped a cancelled call. CA002 if the call is not cancelled.';

-- schemas/functions/compute_calls/fail_compute_call.sql

create or replace function captionacc.fail_compute_call(
    p_id uuid, p_waiter uuid, p_message text, p_error_type text default '', p_usage jsonb default null
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status not in ('pending', 'running') or found.waiter is distinct from p_waiter then
        return found;
    end if;
    update compute_calls
    set status = 'failed', finished_at = clock_timestamp(), usage = p_usage,
        error_details = _error_details(p_message, p_error_type, run_id, attempts)
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_compute_call(uuid, uuid, text, text, jsonb) is
    'Mark an open call as failed, on behalf of its waiter; the same request is then a new call. Otherwise '
    'nothing changes.';

-- schemas/functions/compute_calls/finish_compute_call.sql

create or replace function captionacc.finish_compute_call(p_id uuid, p_waiter uuid, p_result jsonb, p_usage jsonb default null)
returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls := _locked_compute_call(p_id);
    result compute_calls;
begin
    if found.status = 'succeeded' then
        return found;
    end if;
    if found.status <> 'running' then
        raise exception 'compute call % is %, so its result is not stored', p_id, found.status using errcode = 'CA002';
    end if;
    if p_result is null then
        raise exception 'the result of compute call % is empty', p_id using errcode = 'CA010';
    end if;
    update compute_calls
    set status = 'succeeded', result = p_result, usage = p_usage, finished_by = p_waiter,
        finished_at = clock_timestamp()
    where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_compute_call(uuid, uuid, jsonb, jsonb) is
    'Store the result of a running call: running to succeeded. Only the first result is stored; later '
    'callers get the row with it. CA002 if the call failed or was cancelled.';

-- schemas/functions/compute_calls/open_compute_call.sql

create or replace function captionacc.open_compute_call(
    p_video_id uuid,
    p_run_id text,
    p_function_name text,
    p_backend text,
    p_request_hash text,
    p_waiter uuid,
    p_cropped_frames_version integer default null,
    p_spawn_grace_seconds double precision default 30,
    p_life_seconds double precision default 86400
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- With the lock, concurrent attempts with the same request share one row.
    video videos := _locked_video(p_video_id);
    found compute_calls;
    result compute_calls;
begin
    perform _check_text(p_run_id, 'the run id');
    perform _check_text(p_function_name, 'the function''s name');
    perform _check_text(p_request_hash, 'the request''s hash');
    if p_waiter is null then
        raise exception 'the waiter is empty' using errcode = 'CA010';
    end if;
    if p_backend is null or p_backend not in ('local', 'modal') then
        raise exception 'backend % is not local or modal', coalesce(p_backend, 'null') using errcode = 'CA010';
    end if;
    if not coalesce(p_spawn_grace_seconds >= 0 and p_life_seconds > 0, false) then
        raise exception 'a grace of % s and a life of % s are not usable', p_spawn_grace_seconds, p_life_seconds
            using errcode = 'CA010';
    end if;
    if exists (select from run_cancellations where run_id = p_run_id) then
        raise exception 'run % was cancelled', p_run_id using errcode = 'CA002';
    end if;

    select * into found from compute_calls c
    where c.video_id = p_video_id and c.function_name = p_function_name and c.request_hash = p_request_hash
        and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
    -- An open call first: it was requested after the older result.
    order by c.finished_at desc nulls first limit 1
    for update;
    if coalesce(found.finished_at, found.created_at)
        <= clock_timestamp() - make_interval(secs => p_life_seconds)
    then
        if found.status in ('pending', 'running') then
            update compute_calls
            set status = 'failed', finished_at = clock_timestamp(),
                error_details = _error_details('no attempt waited for it in time', 'AbandonedError', run_id, attempts)
            where id = found.id;
        else
            update compute_calls set settled_at = clock_timestamp() where id = found.id;
        end if;
        found := null;
    end if;

    if found.id is null then
        insert into compute_calls (
            tenant_id, video_id, run_id, function_name, backend, request_hash, waiter, cropped_frames_version
        ) values (
            video.tenant_id, p_video_id, p_run_id, p_function_name, p_backend, p_request_hash, p_waiter,
            p_cropped_frames_version
        )
        returning * into result;
        return result;
    end if;
    if found.waiter = p_waiter then
        return found;
    end if;
    if found.status = 'pending'
        and found.opened_at > clock_timestamp() - make_interval(secs => p_spawn_grace_seconds)
    then
        return found;
    end if;
    update compute_calls
    set run_id = p_run_id, waiter = p_waiter, attempts = attempts + 1,
        opened_at = case when status = 'pending' then clock_timestamp() else opened_at end
    where id = found.id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.open_compute_call(
    uuid, text, text, text, text, uuid, integer, double precision, double precision
) is
    'Return the call for a request: a new row (pending), a running call, or a result that is not settled '
    'yet. The caller becomes its waiter, unless another waiter began to start the call less than '
    'p_spawn_grace_seconds ago: the row then has the other waiter''s token, and the caller asks again '
    'later. Calls older than p_life_seconds are not reused. CA002 if the run was cancelled.';

-- schemas/functions/compute_calls/settle_compute_calls.sql

create or replace function captionacc.settle_compute_calls(p_video_id uuid, p_run_id text) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update compute_calls set settled_at = clock_timestamp()
    where video_id = p_video_id and run_id = p_run_id and status = 'succeeded' and settled_at is null;
    return (
        select count(*) from compute_calls
        where video_id = p_video_id and run_id = p_run_id and settled_at is not null
    );
end
$$;
comment on function captionacc.settle_compute_calls(uuid, text) is
    'Mark a run''s calls as settled, because its results are published: the same requests are computed '
    'again from then on. Returns the number of settled calls.';

-- schemas/functions/costs/_month_spent_usd.sql

create or replace function captionacc._month_spent_usd(p_tenant_id uuid) returns numeric
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(sum(cost_estimate_usd), 0) from usage_metrics
    where tenant_id = p_tenant_id and cost_estimate_usd > 0
        and recorded_at >= date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc'
$$;

-- schemas/functions/costs/_usd.sql

create or replace function captionacc._usd(p_amount numeric) returns text
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select to_char(p_amount, case when p_amount < 0.1 then 'FM999999990.0000' else 'FM999999990.00' end)
$$;

-- schemas/functions/costs/charge_compute_call.sql

create or replace function captionacc.charge_compute_call(
    p_id uuid, p_cost_usd numeric, p_seconds numeric, p_metadata jsonb default '{}'
) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
    result compute_calls;
begin
    -- Locks the video before the call, as open_compute_call does.
    perform from videos where id = (select c.video_id from compute_calls c where c.id = p_id) for key share;
    found := _locked_compute_call(p_id);
    if found.charged_at is not null then
        return found;
    end if;
    if found.finished_at is null then
        raise exception 'compute call % is %, so its cost is not known yet', p_id, found.status
            using errcode = 'CA002';
    end if;
    if not coalesce(p_cost_usd >= 0 and p_cost_usd < 'infinity' and p_seconds >= 0 and p_seconds < 'infinity', false)
    then
        raise exception 'a cost of % for % s is not usable', coalesce(p_cost_usd::text, 'null'),
            coalesce(p_seconds::text, 'null') using errcode = 'CA010';
    end if;
    insert into usage_metrics
        (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata, recorded_at)
    values (
        found.tenant_id, found.video_id, 'container_seconds', p_seconds, p_cost_usd,
        coalesce(p_metadata, '{}') || jsonb_build_object('function', found.function_name, 'run_id', found.run_id,
            'compute_call_id', found.id, 'status', found.status),
        found.finished_at
    );
    update compute_calls set cost_usd = p_cost_usd, charged_at = clock_timestamp() where id = p_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.charge_compute_call(uuid, numeric, numeric, jsonb) is
    'Record the cost of an ended call. Runs on failure too: failed and cancelled calls are billed. The '
    'cost is counted once, in the month in which the call ended. CA002 if the call is still running.';

-- schemas/functions/costs/cost_report.sql

create or replace function captionacc.cost_report(p_since timestamptz, p_tenant_id uuid default null)
returns table (lines jsonb, until timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    -- One row, because an API that limits the number of rows would drop lines.
    select coalesce(jsonb_agg(to_jsonb(r) order by r.month desc, r.tenant, r.function_name), '[]'), now()
    from (
        select t.id as tenant_id, t.name as tenant,
            to_char(m.recorded_at at time zone 'utc', 'YYYY-MM') as month,
            coalesce(m.metadata ->> 'function', '') as function_name,
            count(*) filter (where m.metric_type = 'container_seconds') as calls,
            round(coalesce(sum(m.metric_value) filter (where m.metric_type = 'container_seconds'), 0), 3)
                as container_seconds,
            round(coalesce(sum(m.metric_value) filter (where m.metric_type = 'processing_minutes'), 0), 4)
                as processing_minutes,
            round(coalesce(sum(m.cost_estimate_usd), 0), 6) as cost_usd
        from usage_metrics m join tenants t on t.id = m.tenant_id
        where m.recorded_at >= p_since and m.metric_type in ('container_seconds', 'processing_minutes')
            and (p_tenant_id is null or m.tenant_id = p_tenant_id)
        group by t.id, t.name, 3, 4
    ) r
$$;
comment on function captionacc.cost_report(timestamptz, uuid) is
    'Report calls, container seconds, processing minutes and cost by tenant, month (UTC) and function, '
    'newest month first.';

-- schemas/functions/costs/record_usage.sql

create or replace function captionacc.record_usage(
    p_tenant_id uuid,
    p_metric_type text,
    p_metric_value numeric,
    p_video_id uuid default null,
    p_cost_estimate_usd numeric default null,
    p_metadata jsonb default '{}'
) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into usage_metrics (tenant_id, video_id, metric_type, metric_value, cost_estimate_usd, metadata)
    values (p_tenant_id, p_video_id, p_metric_type, p_metric_value, p_cost_estimate_usd, p_metadata)
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_usage(uuid, text, numeric, uuid, numeric, jsonb) is
    'Record an amount that a tenant used. Amounts of one kind add up.';

-- schemas/functions/costs/release_cost.sql

create or replace function captionacc.release_cost(p_video_id uuid, p_run_id text, p_function_name text) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    delete from cost_reservations r
    where r.video_id = p_video_id and r.function_name = p_function_name and r.run_id = p_run_id
        -- Calls that continue without the run are billed too.
        and not exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.function_name = p_function_name and c.status in ('pending', 'running')
        );
    return found;
end
$$;
comment on function captionacc.release_cost(uuid, text, text) is
    'Release a run''s reservation once its calls are charged. It stays while calls are running and if '
    'another run has replaced it.';

-- schemas/functions/costs/reserve_cost.sql

create or replace function captionacc.reserve_cost(
    p_video_id uuid,
    p_run_id text,
    p_function_name text,
    p_estimate_usd numeric,
    p_video_limit_usd numeric default null,
    p_month_limit_usd numeric default null,
    p_life_seconds double precision default 86400,
    p_frame_count bigint default null
) returns table (granted boolean, message text, reserved_usd numeric)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- Locks the video before the tenant, as all functions do that lock both.
    video videos := _locked_video(p_video_id);
    costs record;
    paid numeric;
    needed numeric;
    video_spent numeric;
    others_reserved numeric;
    refusal text;
begin
    perform _check_text(p_run_id, 'the run id');
    perform _check_text(p_function_name, 'the function''s name');
    if not coalesce(p_estimate_usd >= 0 and p_estimate_usd < 'infinity', false) then
        raise exception '% is not a cost', coalesce(p_estimate_usd::text, 'null') using errcode = 'CA010';
    end if;
    if not coalesce(p_life_seconds > 0, false) then
        raise exception 'a life of % s is not usable', coalesce(p_life_seconds::text, 'null') using errcode = 'CA010';
    end if;
    perform from tenants where id = video.tenant_id for no key update;

    -- Results that an earlier attempt paid for and this one will reuse are not paid again.
    select coalesce(sum(c.cost_usd), 0) into paid from compute_calls c
    where c.video_id = p_video_id and c.function_name = p_function_name
        and c.status = 'succeeded' and c.settled_at is null
        and c.finished_at > clock_timestamp() - make_interval(secs => p_life_seconds);
    needed := greatest(p_estimate_usd - paid, 0);

    select * into costs from tenant_costs(video.tenant_id, p_video_limit_usd, p_month_limit_usd);
    select coalesce(sum(m.cost_estimate_usd), 0) into video_spent from usage_metrics m
    where m.video_id = p_video_id and m.cost_estimate_usd > 0;
    select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
    where r.video_id = p_video_id and r.function_name <> p_function_name and r.expires_at > clock_timestamp();
    video_spent := video_spent + others_reserved;
    if video_spent + needed > costs.video_limit_usd then
        refusal := format(
            '%s of video %s would cost about $%s, and $%s of the $%s that a video may cost are spent or reserved: '
            'raise the limit with `captionacc cost limit --tenant %s --video-usd %s`, then retry the video',
            p_function_name, p_video_id, _usd(needed), _usd(video_spent), _usd(costs.video_limit_usd),
            video.tenant_id, _usd(ceil(video_spent + needed)));
    else
        -- The reservation that an earlier attempt left for this function is replaced and does not count.
        select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
        where r.tenant_id = video.tenant_id and r.expires_at > clock_timestamp()
            and (r.video_id, r.function_name) <> (p_video_id, p_function_name);
        if costs.month_spent_usd + others_reserved + needed > costs.month_limit_usd then
            refusal := format(
                '%s of video %s would cost about $%s, and $%s of the $%s that tenant %s may cost in a month (UTC) are '
                'spent or reserved: retry the video next month, or raise the limit with '
                '`captionacc cost limit --tenant %s --month-usd %s` and then retry it',
                p_function_name, p_video_id, _usd(needed), _usd(costs.month_spent_usd + others_reserved),
                _usd(costs.month_limit_usd), video.tenant_id, video.tenant_id,
                _usd(ceil(costs.month_spent_usd + others_reserved + needed)));
        end if;
    end if;

    if refusal is not null then
        -- Not raised, because an exception would undo the rejection.
        if not exists (
            select from caption_frame_extents_inference_rejections j
            where j.video_id = p_video_id and j.run_id = p_run_id and j.message = refusal
        ) then
            perform record_rejection(video.tenant_id, 'cost_exceeded', refusal, p_video_id, p_run_id => p_run_id,
                p_frame_count => p_frame_count, p_estimated_cost_usd => needed);
        end if;
        return query select false, refusal, 0::numeric;
        return;
    end if;
    insert into cost_reservations as r (video_id, function_name, tenant_id, run_id, amount_usd, expires_at)
    values (p_video_id, p_function_name, video.tenant_id, p_run_id, needed,
        clock_timestamp() + make_interval(secs => p_life_seconds))
    on conflict (video_id, function_name) do update set
        run_id = excluded.run_id, amount_usd = excluded.amount_usd, reserved_at = clock_timestamp(),
        expires_at = excluded.expires_at;
    return query select true, ''::text, needed;
end
$$;
comment on function captionacc.reserve_cost(
    uuid, text, text, numeric, numeric, numeric, double precision, bigint
) is
    'Reserve the expected cost of a function''s calls for a video. Over a limit nothing is reserved: '
    'granted is false, message says what to do, and a rejection is recorded.';

-- schemas/functions/costs/set_tenant_cost_limits.sql

create or replace function captionacc.set_tenant_cost_limits(
    p_tenant_id uuid, p_video_usd numeric default null, p_month_usd numeric default null
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    update tenants set video_cost_limit_usd = p_video_usd, month_cost_limit_usd = p_month_usd
    where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_cost_limits(uuid, numeric, numeric) is
    'Set a tenant''s cost limits for a video and for a month. Null: the tier''s limit; infinity: no limit.';

-- schemas/functions/costs/set_tier_cost_limits.sql

create or replace function captionacc.set_tier_cost_limits(
    p_tier text, p_video_usd numeric default null, p_month_usd numeric default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    update access_tiers set video_cost_limit_usd = p_video_usd, month_cost_limit_usd = p_month_usd
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_cost_limits(text, numeric, numeric) is
    'Set a tier''s cost limits for a video and for a month. Null: the installation''s limit; infinity: no '
    'limit.';

-- schemas/functions/costs/tenant_costs.sql

create or replace function captionacc.tenant_costs(
    p_tenant_id uuid, p_video_limit_usd numeric default null, p_month_limit_usd numeric default null
) returns table (
    video_limit_usd numeric, month_limit_usd numeric, month_spent_usd numeric, reserved_usd numeric
)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return query
        select
            case when not t.quota_exempt then nullif(coalesce(
                t.video_cost_limit_usd, a.video_cost_limit_usd, p_video_limit_usd), 'infinity') end,
            case when not t.quota_exempt then nullif(coalesce(
                t.month_cost_limit_usd, a.month_cost_limit_usd, p_month_limit_usd), 'infinity') end,
            _month_spent_usd(t.id),
            (
                select coalesce(sum(r.amount_usd), 0) from cost_reservations r
                where r.tenant_id = t.id and r.expires_at > clock_timestamp()
            )
        from tenants t join access_tiers a on a.id = t.tier
        where t.id = p_tenant_id;
end
$$;
comment on function captionacc.tenant_costs(uuid, numeric, numeric) is
    'Return the cost limits that apply to a tenant (null: none) and this month''s charged and reserved '
    'cost. p_video_limit_usd and p_month_limit_usd are the installation''s limits.';

-- schemas/functions/cropped_frames/_locked_version.sql

create or replace function captionacc._locked_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
begin
    select * into found from cropped_frames_versions where video_id = p_video_id and version = p_version for update;
    if found.video_id is null then
        raise exception 'video % has no cropped-frames version %', p_video_id, p_version using errcode = 'CA009';
    end if;
    return found;
end
$$;

-- schemas/functions/cropped_frames/activate_cropped_frames_version.sql

create or replace function captionacc.activate_cropped_frames_version(
    p_video_id uuid, p_version integer, p_chunk_count integer, p_total_frames bigint, p_total_size_bytes bigint
) returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'active' then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %', p_version, p_video_id, found.status
            using errcode = 'CA002';
    end if;
    perform _check_owner(video, 'boundaries', found.run_id);
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and status = 'active';
    update cropped_frames_versions
    set status = 'active', activated_at = clock_timestamp(), chunk_count = p_chunk_count,
        total_frames = p_total_frames, total_size_bytes = p_total_size_bytes
    where video_id = p_video_id and version = p_version
    returning * into result;
    update videos set current_cropped_frames_version = p_version where id = p_video_id;
    return result;
end
$$;
comment on function captionacc.activate_cropped_frames_version(uuid, integer, integer, bigint, bigint) is
    'Make a version the one that readers use, once all its chunks are in the bucket, and archive the '
    'former one. CA002 if its run was displaced.';

-- schemas/functions/cropped_frames/allot_cropped_frames_version.sql

create or replace function captionacc.allot_cropped_frames_version(p_video_id uuid, p_run_id text, p_crop_region jsonb)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    allotted integer;
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    perform _check_crop_region(p_crop_region);
    if p_crop_region is distinct from video.crop_region::jsonb then
        raise exception 'crop region % of video % is not the approved one, %', p_crop_region, p_video_id,
            video.crop_region using errcode = 'CA002';
    end if;
    update cropped_frames_versions v set run_id = p_run_id
    where v.video_id = p_video_id and v.status = 'processing'
        and v.crop_region_version = video.crop_region_version and v.crop_region::jsonb = p_crop_region
        and exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.cropped_frames_version = v.version
                and c.function_name = 'crop_and_infer_caption_frame_extents'
                and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
        )
    returning v.version into allotted;
    if allotted is not null then
        return allotted;
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(),
        error_message = 'left unfinished; run ' || p_run_id || ' started over'
    where video_id = p_video_id and status = 'processing';
    select coalesce(max(version), 0) + 1 into allotted from cropped_frames_versions where video_id = p_video_id;
    insert into cropped_frames_versions (video_id, version, tenant_id, run_id, crop_region, crop_region_version)
    values (p_video_id, allotted, video.tenant_id, p_run_id, p_crop_region::crop_region, video.crop_region_version);
    return allotted;
end
$$;
comment on function captionacc.allot_cropped_frames_version(uuid, text, jsonb) is
    'Return a version number for the run that works on the boundaries: the unfinished version of an '
    'earlier attempt at the same crop region, if calls for it are running or have unsettled results; '
    'otherwise a number that was never used. Other unfinished versions are marked as failed.';

-- schemas/functions/cropped_frames/archive_cropped_frames_version.sql

create or replace function captionacc.archive_cropped_frames_version(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status = 'archived' then
        return found;
    end if;
    if found.status <> 'active' then
        raise exception 'cropped-frames version % of video % is %, so it cannot be archived', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    if video.boundaries_status in ('annotate', 'done') then
        raise exception 'cropped-frames version % of video % is the one its captions were made from', p_version,
            p_video_id using errcode = 'CA002', hint = 'Activate another one, which archives it.';
    end if;
    update videos set current_cropped_frames_version = null where id = p_video_id;
    update cropped_frames_versions set status = 'archived', archived_at = clock_timestamp()
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.archive_cropped_frames_version(uuid, integer) is
    'Archive the active version; activating another version does the same. CA002 while captions depend on '
    'it.';

-- schemas/functions/cropped_frames/fail_cropped_frames_version.sql

create or replace function captionacc.fail_cropped_frames_version(
    p_video_id uuid, p_version integer, p_message text, p_run_id text default null
) returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions;
    result cropped_frames_versions;
begin
    -- Deleted videos too: their incomplete objects have to be removed as well.
    perform from videos where id = p_video_id for update;
    found := _locked_version(p_video_id, p_version);
    if found.status = 'failed' or (p_run_id is not null and found.run_id <> p_run_id) then
        return found;
    end if;
    if found.status <> 'processing' then
        raise exception 'cropped-frames version % of video % is %, so it cannot fail', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(), error_message = left(coalesce(p_message, ''), 4000)
    where video_id = p_video_id and version = p_version
    returning * into result;
    return result;
end
$$;
comment on function captionacc.fail_cropped_frames_version(uuid, integer, text, text) is
    'Mark a version as failed, so that its objects can be removed. If a run is given, nothing changes '
    'when another run has taken over the version.';

-- schemas/functions/cropped_frames/mark_objects_removed.sql

create or replace function captionacc.mark_objects_removed(p_video_id uuid, p_version integer)
returns captionacc.cropped_frames_versions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found cropped_frames_versions := _locked_version(p_video_id, p_version);
    result cropped_frames_versions;
begin
    if found.status not in ('failed', 'archived') then
        raise exception 'cropped-frames version % of video % is %: its objects are needed', p_version, p_video_id,
            found.status using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where video_id = p_video_id and version = p_version returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_objects_removed(uuid, integer) is
    'Record that a version''s objects were removed from the bucket.';

-- schemas/functions/cropped_frames/record_inference_run.sql

create or replace function captionacc.record_inference_run(
    p_video_id uuid,
    p_cropped_frames_version integer,
    p_run_id text,
    p_model_version text,
    p_storage_key text,
    p_total_pairs bigint,
    p_processing_time_seconds double precision,
    p_started_at timestamptz,
    p_completed_at timestamptz,
    p_model_sha256 text default null,
    p_file_size_bytes bigint default null
) returns uuid
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result uuid;
begin
    perform _locked_version(p_video_id, p_cropped_frames_version);
    insert into caption_frame_extents_inference_runs (
        video_id, cropped_frames_version, tenant_id, run_id, model_version, model_sha256, storage_key,
        file_size_bytes, total_pairs, processing_time_seconds, started_at, completed_at
    ) values (
        p_video_id, p_cropped_frames_version, video.tenant_id, p_run_id, p_model_version, p_model_sha256,
        p_storage_key, p_file_size_bytes, p_total_pairs, p_processing_time_seconds, p_started_at, p_completed_at
    )
    on conflict (video_id, cropped_frames_version, model_version) do update set
        run_id = excluded.run_id, model_sha256 = excluded.model_sha256, storage_key = excluded.storage_key,
        file_size_bytes = excluded.file_size_bytes, total_pairs = excluded.total_pairs,
        processing_time_seconds = excluded.processing_time_seconds,
        started_at = excluded.started_at, completed_at = excluded.completed_at
    returning id into result;
    return result;
end
$$;
comment on function captionacc.record_inference_run(
    uuid, integer, text, text, text, bigint, double precision, timestamptz, timestamptz, text, bigint
) is
    'Record which model labelled a cropped-frames version, replacing the row of the same model.';

-- schemas/functions/locks/_check_lease.sql

create or replace function captionacc._check_lease(p_database_name text, p_lease_seconds double precision) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_database_name is null or p_database_name not in ('layout', 'captions') then
        raise exception 'database % is not layout or captions', coalesce(p_database_name, 'null')
            using errcode = 'CA010';
    end if;
    if p_lease_seconds is null or not p_lease_seconds between 1 and 86400 then
        raise exception 'a lease of % s is not in [1, 86400]', p_lease_seconds using errcode = 'CA010';
    end if;
end
$$;

-- schemas/functions/locks/bump_database_version.sql

create or replace function captionacc.bump_database_version(p_token uuid) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result bigint;
begin
    update video_database_state set server_version = server_version + 1
    where lock_token = p_token and lock_expires_at > clock_timestamp()
    returning server_version into result;
    if result is null then
        raise exception 'the lock''s lease has expired, or another owner has taken it' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.bump_database_version(uuid) is
    'Increment a file''s version after the lock''s holder has published it. CA005 if the lease has expired.';

-- schemas/functions/locks/list_locks.sql

create or replace function captionacc.list_locks(p_include_expired boolean default false)
returns table (
    video_id uuid, database_name text, tenant_id uuid, lock_owner text, lock_type text,
    locked_at timestamptz, lock_expires_at timestamptz, expired boolean
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select s.video_id, s.database_name, s.tenant_id, s.lock_owner, s.lock_type, s.locked_at, s.lock_expires_at,
        s.lock_expires_at <= clock_timestamp()
    from video_database_state s
    where s.lock_token is not null and (p_include_expired or s.lock_expires_at > clock_timestamp())
    order by s.locked_at, s.video_id, s.database_name
$$;
comment on function captionacc.list_locks(boolean) is
    'List the locks with their owners and expiry times, without tokens.';

-- schemas/functions/locks/release_lock.sql

create or replace function captionacc.release_lock(p_token uuid) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update video_database_state
    set lock_token = null, lock_owner = null, lock_type = null, locked_at = null, lock_expires_at = null
    where lock_token = p_token;
    return found;
end
$$;
comment on function captionacc.release_lock(uuid) is
    'Release a lock. Returns false if the caller no longer holds it.';

-- schemas/functions/locks/renew_lock.sql

create or replace function captionacc.renew_lock(p_token uuid, p_lease_seconds double precision) returns timestamptz
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result timestamptz;
begin
    perform _check_lease('layout', p_lease_seconds);
    -- An expired lease still belongs to its holder until another owner takes it.
    update video_database_state
    set lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where lock_token = p_token
    returning lock_expires_at into result;
    if result is null then
        raise exception 'the lock was released or taken over' using errcode = 'CA005';
    end if;
    return result;
end
$$;
comment on function captionacc.renew_lock(uuid, double precision) is
    'Extend a lease from now on and return its new expiry time. CA005 if another owner has taken the '
    'lock.';

-- schemas/functions/locks/take_lock.sql

create or replace function captionacc.take_lock(
    p_video_id uuid,
    p_database_name text,
    p_owner text,
    p_lease_seconds double precision,
    p_lock_type text default 'server'
) returns table (token uuid, expires_at timestamptz)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state video_database_state;
begin
    perform _check_lease(p_database_name, p_lease_seconds);
    perform _check_text(p_owner, 'the lock''s owner');
    if p_lock_type is null or p_lock_type not in ('server', 'client') then
        raise exception 'lock type % is not server or client', coalesce(p_lock_type, 'null') using errcode = 'CA010';
    end if;
    -- Does not lock the video's row, because its stages are independent of the locks of its databases.
    select * into video from videos where id = p_video_id;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif video.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, video.deleted_at using errcode = 'CA007';
    end if;
    insert into video_database_state (video_id, database_name, tenant_id)
    values (p_video_id, p_database_name, video.tenant_id)
    on conflict do nothing;
    -- One statement: the second of two concurrent takers waits for the first and then finds the lock held.
    update video_database_state s
    set lock_token = gen_random_uuid(), lock_owner = p_owner, lock_type = p_lock_type,
        locked_at = clock_timestamp(), lock_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where s.video_id = p_video_id and s.database_name = p_database_name
        and (s.lock_token is null or s.lock_expires_at <= clock_timestamp())
    returning * into state;
    if state.lock_token is null then
        select * into state from video_database_state s
        where s.video_id = p_video_id and s.database_name = p_database_name;
        raise exception '%.db of video % is locked by % until %', p_database_name, p_video_id, state.lock_owner,
            state.lock_expires_at using errcode = 'CA004';
    end if;
    return query select state.lock_token, state.lock_expires_at;
end
$$;
comment on function captionacc.take_lock(uuid, text, text, double precision, text) is
    'Take the lock of layout.db or captions.db if it is free or its lease has expired. CA004 if it is '
    'held.';

-- schemas/functions/metrics/_record_stage_outcomes.sql

create or replace function captionacc._record_stage_outcomes() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    insert into stage_outcomes (tenant_id, video_id, stage, outcome, error_type, run_id, seconds)
    select new.tenant_id, new.id, s.stage, case when s.failed then 'error' else 'finished' end,
        case when s.failed then left(coalesce(s.details ->> 'error_type', ''), 100) else '' end,
        coalesce(s.old_run_id, s.details ->> 'run_id'),
        case when s.old_run_id is not null
            then greatest(extract(epoch from s.finished_at - s.started_at)::double precision, 0) end
    from (
        values
            ('layout', new.layout_status = 'error', new.layout_error_details, old.layout_error_details,
                old.layout_run_id, new.layout_started_at, new.layout_finished_at, old.layout_finished_at),
            ('boundaries', new.boundaries_status = 'error', new.boundaries_error_details,
                old.boundaries_error_details, old.boundaries_run_id, new.boundaries_started_at,
                new.boundaries_finished_at, old.boundaries_finished_at),
            ('text', new.text_status = 'error', new.text_error_details, old.text_error_details, old.text_run_id,
                new.text_started_at, new.text_finished_at, old.text_finished_at)
    ) s (stage, failed, details, old_details, old_run_id, started_at, finished_at, old_finished_at)
    -- An error counts as new when its details change, a result when its finish time changes.
    where (s.failed and s.details is distinct from s.old_details)
        or (not s.failed and s.old_run_id is not null and s.finished_at is distinct from s.old_finished_at);
    return null;
end
$$;

-- schemas/functions/metrics/lock_state.sql

create or replace function captionacc.lock_state()
returns table (
    database_name text, held bigint, expired bigint, oldest_expired_at timestamptz, oldest_held_at timestamptz,
    database_waits bigint
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select n.name, count(s.video_id) filter (where s.lock_expires_at > clock_timestamp()),
        count(s.video_id) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.lock_expires_at) filter (where s.lock_expires_at <= clock_timestamp()),
        min(s.locked_at) filter (where s.lock_expires_at > clock_timestamp()),
        (
            select count(*) from pg_catalog.pg_locks l
            where not l.granted
                and (l.database is null or l.database
                    = (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
        )
    from (values ('captions'), ('layout')) n (name)
    left join video_database_state s on s.database_name = n.name and s.lock_token is not null
    group by n.name
    order by n.name
$$;
comment on function captionacc.lock_state() is
    'Count the leases on client databases: held, and expired but never released because their holder '
    'died. database_waits is the number of transactions that wait for a database lock, repeated in each '
    'row.';

-- schemas/functions/metrics/monthly_spend.sql

create or replace function captionacc.monthly_spend(p_limit integer default 50)
returns table (tenant_id uuid, tier text, cost_usd numeric)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select u.tenant_id, t.tier, u.cost
    from (
        select m.tenant_id, sum(m.cost_estimate_usd) as cost from usage_metrics m
        where m.cost_estimate_usd is not null
            and m.recorded_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'
        group by m.tenant_id
    ) u
    join tenants t on t.id = u.tenant_id
    order by u.cost desc, u.tenant_id
    limit least(p_limit, 1000)
$$;
comment on function captionacc.monthly_spend(integer) is
    'Return the estimated cost of the current calendar month (UTC) for the tenants with the highest cost.';

-- schemas/functions/metrics/open_compute_calls.sql

create or replace function captionacc.open_compute_calls()
returns table (function_name text, backend text, status text, calls bigint, oldest_at timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select c.function_name, c.backend, c.status, count(*), min(c.created_at)
    from compute_calls c where c.status in ('pending', 'running')
    group by c.function_name, c.backend, c.status
    order by c.function_name, c.backend, c.status
$$;
comment on function captionacc.open_compute_calls() is 'Return the calls that are open now.';

-- schemas/functions/metrics/stage_backlog.sql

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

-- schemas/functions/metrics/stage_failures.sql

create or replace function captionacc.stage_failures(p_seconds double precision default 3600)
returns table (stage text, error_type text, failures bigint)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select o.stage, o.error_type, count(*) from stage_outcomes o
    where o.outcome = 'error' and o.occurred_at > clock_timestamp() - make_interval(secs => p_seconds)
    group by o.stage, o.error_type
    order by count(*) desc, o.stage, o.error_type
    limit 200
$$;
comment on function captionacc.stage_failures(double precision) is
    'Count recent stage errors by kind: the last attempt of each stage, including cancellations and '
    'refusals.';

-- schemas/functions/metrics/stage_outcomes_after.sql

create or replace function captionacc.stage_outcomes_after(p_after timestamptz, p_after_id bigint, p_limit integer default 1000)
returns setof captionacc.stage_outcomes
language sql stable
set search_path = captionacc, pg_temp
as $$
    select * from stage_outcomes
    -- Rows appear when their transaction ends. Older rows than any statement's time-out are complete.
    where (occurred_at, id) > (p_after, p_after_id) and occurred_at < clock_timestamp() - interval '20 seconds'
    order by occurred_at, id
    limit least(p_limit, 1000)
$$;
comment on function captionacc.stage_outcomes_after(timestamptz, bigint, integer) is
    'Return up to 1000 outcomes after a given one, oldest first, except those of the last 20 seconds.';

-- schemas/functions/people/current_tenant_id.sql

create or replace function captionacc.current_tenant_id() returns uuid
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select tenant_id from user_profiles where user_id = auth.uid() and approval_status = 'approved'
$$;
comment on function captionacc.current_tenant_id() is
    'Return the tenant of the request''s user; null if the user is not approved.';

-- schemas/functions/people/is_platform_admin.sql

create or replace function captionacc.is_platform_admin() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and is_platform_admin
    )
$$;
comment on function captionacc.is_platform_admin() is
    'Return whether the request''s user is a platform admin.';

-- schemas/functions/people/is_tenant_owner.sql

create or replace function captionacc.is_tenant_owner() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and role = 'owner'
    )
$$;
comment on function captionacc.is_tenant_owner() is 'Return whether the request''s user owns their tenant.';

-- schemas/functions/people/set_user_profile.sql

create or replace function captionacc.set_user_profile(
    p_user_id uuid,
    p_tenant_id uuid,
    p_role text default 'member',
    p_approval_status text default 'pending',
    p_is_platform_admin boolean default false,
    p_display_name text default ''
) returns captionacc.user_profiles
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result user_profiles;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_role is null or p_role not in ('member', 'owner') then
        raise exception 'role % is not member or owner', coalesce(p_role, 'null') using errcode = 'CA010';
    end if;
    if p_approval_status is null or p_approval_status not in ('pending', 'approved', 'rejected') then
        raise exception 'approval % is not pending, approved or rejected', coalesce(p_approval_status, 'null')
            using errcode = 'CA010';
    end if;
    insert into user_profiles (user_id, tenant_id, role, approval_status, is_platform_admin, display_name)
    values (p_user_id, p_tenant_id, p_role, p_approval_status, coalesce(p_is_platform_admin, false),
        coalesce(p_display_name, ''))
    on conflict (user_id) do update set
        tenant_id = excluded.tenant_id, role = excluded.role, approval_status = excluded.approval_status,
        is_platform_admin = excluded.is_platform_admin, display_name = excluded.display_name
    returning * into result;
    perform _audit('set_user_profile', 'allowed', '', null, to_jsonb(result) - 'created_at' - 'updated_at');
    return result;
end
$$;
comment on function captionacc.set_user_profile(uuid, uuid, text, text, boolean, text) is
    'Create or change a user''s profile; audited.';

-- schemas/functions/stages/_approve_layout.sql

create or replace function captionacc._approve_layout(p_video_id uuid, p_approved_by text, p_crop_region jsonb)
returns captionacc.videos
language sql
set search_path = captionacc, pg_temp
as $$
    update videos set
        layout_status = 'done', layout_error_details = null,
        layout_approved_at = clock_timestamp(), layout_approved_by = p_approved_by,
        crop_region = p_crop_region::crop_region, crop_region_version = crop_region_version + 1,
        boundaries_status = 'wait', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_requested_at = null, boundaries_unstarted_requests = 0, boundaries_note = '',
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = null, text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning *
$$;

-- schemas/functions/stages/_check_owner.sql

create or replace function captionacc._check_owner(p_video captionacc.videos, p_stage text, p_run_id text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    owner text := to_jsonb(p_video) ->> (p_stage || '_run_id');
begin
    if owner is distinct from p_run_id or p_run_id is null then
        raise exception 'run % does not work on the % stage of video %: %', coalesce(p_run_id, 'null'), p_stage,
            p_video.id, case when owner is null then 'no run does' else 'run ' || owner || ' does' end
            using errcode = 'CA002';
    end if;
end
$$;
comment on function captionacc._check_owner(captionacc.videos, text, text) is
    'Refuse (CA002) a run that was displaced or has ended: it may not write results.';

-- schemas/functions/stages/approve_layout.sql

create or replace function captionacc.approve_layout(p_video_id uuid, p_approved_by text, p_crop_region jsonb default null)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    region jsonb := coalesce(p_crop_region, video.proposed_crop_region);
begin
    perform _check_text(p_approved_by, 'who approves');
    if video.layout_status not in ('annotate', 'done') then
        raise exception 'the layout of video % cannot be approved in state %', p_video_id, video.layout_status
            using errcode = 'CA002';
    end if;
    if region is null then
        raise exception 'no caption band was found in video %, so there is no crop region to approve', p_video_id
            using errcode = 'CA003', hint = 'Give a crop region.';
    end if;
    perform _check_crop_region(region);
    -- Approving the same region again does not process the video again.
    if video.layout_status = 'done' and video.crop_region = region then
        return video;
    end if;
    return _approve_layout(p_video_id, p_approved_by, region);
end
$$;
comment on function captionacc.approve_layout(uuid, text, jsonb) is
    'Approve a crop region (null: the proposed one). A changed region gets a new crop_region_version, '
    'displaces the runs of boundaries and text and returns both stages to wait.';

-- schemas/functions/stages/begin_stage.sql

create or replace function captionacc.begin_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_take_over boolean default true, p_try integer default 1
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    owner text;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    if p_try is null or p_try not between 1 and 1000 then
        raise exception 'try % of run % is not usable', p_try, p_run_id using errcode = 'CA010';
    end if;
    video := _locked_video(p_video_id);
    if p_stage = 'layout' and video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_stage = 'boundaries' and (video.layout_status <> 'done' or video.crop_region is null) then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    elsif p_stage = 'text' and video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if owner = p_run_id then
        -- A repeated call counts once.
        if (state ->> (p_stage || '_run_try'))::integer >= p_try then
            return video;
        end if;
        execute format(
            $sql$
            update videos set %1$s_tries = %1$s_tries + $2 - %1$s_run_try, %1$s_run_try = $2
            where id = $1 returning *
            $sql$, p_stage)
        into result using p_video_id, p_try;
        return result;
    end if;
    if exists (select from run_cancellations where run_id = p_run_id) then
        raise exception 'run % was cancelled', p_run_id using errcode = 'CA002';
    end if;
    -- A run that was queued when the stage was cancelled must not begin it.
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        raise exception 'the % stage of video % was cancelled', p_stage, p_video_id
            using errcode = 'CA002', hint = 'Retry it first.';
    end if;
    if owner is not null and not p_take_over then
        raise exception 'run % works on the % stage of video %', owner, p_stage, p_video_id using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_run_id = $2, %1$s_started_at = clock_timestamp(),
            %1$s_tries = %1$s_tries
                + case when %1$s_last_run_id = $2 then greatest($3 - %1$s_run_try, 0) else $3 end,
            %1$s_run_try = case when %1$s_last_run_id = $2 then greatest($3, %1$s_run_try) else $3 end,
            %1$s_last_run_id = $2,
            %1$s_requested_at = coalesce(%1$s_requested_at, clock_timestamp()), %1$s_unstarted_requests = 0,
            %1$s_status = case %1$s_status when 'error' then 'wait' else %1$s_status end,
            %1$s_error_details = null
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id, p_try;
    return result;
end
$$;
comment on function captionacc.begin_stage(uuid, text, text, boolean, integer) is
    'Make a run the worker of a stage, at try p_try; repeating the call is harmless. Another run is '
    'displaced, and refused when it finishes, unless p_take_over is false. CA002 if the stage''s inputs '
    'are missing.';

-- schemas/functions/stages/cancel_stage.sql

create or replace function captionacc.cancel_stage(p_video_id uuid, p_stage text, p_cancelled_by text)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    owner text;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_cancelled_by, 'who cancels');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    owner := state ->> (p_stage || '_run_id');
    if state -> (p_stage || '_error_details') ->> 'error_type' = 'CancelledError' then
        return video;
    end if;
    if owner is null and (
        state ->> (p_stage || '_status') <> 'wait'
        or (p_stage = 'boundaries' and video.layout_status <> 'done')
        or (p_stage = 'text' and video.boundaries_status not in ('annotate', 'done'))
    ) then
        raise exception 'nothing works on, or waits for, the % stage of video % (it is in state %)', p_stage,
            p_video_id, state ->> (p_stage || '_status') using errcode = 'CA002';
    end if;
    if owner is not null then
        insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
        values (owner, video.tenant_id, p_video_id, p_stage, p_cancelled_by)
        on conflict (run_id) do nothing;
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details('cancelled by ' || $3, 'CancelledError', $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, owner, p_cancelled_by;
    if p_stage = 'text' then
        update caption_ocr_requests set status = 'cancelled', finished_at = clock_timestamp()
        where video_id = p_video_id and status in ('queued', 'processing');
    end if;
    return result;
end
$$;
comment on function captionacc.cancel_stage(uuid, text, text) is
    'Cancel a stage that a run works on or that waits for one. It ends in the error CancelledError until '
    'it is retried, its run''s writes are refused, and pending_run_cancellations lists the run. CA002 if '
    'there is nothing to cancel.';

-- schemas/functions/stages/complete_review.sql

create or replace function captionacc.complete_review(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    if p_stage is null or p_stage not in ('boundaries', 'text') then
        raise exception 'stage % is not boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010', hint = 'A layout is reviewed by approving it.';
    end if;
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'done' then
        return video;
    end if;
    if state ->> (p_stage || '_status') <> 'annotate' or state ->> (p_stage || '_run_id') is not null then
        raise exception 'the % stage of video % is in state %, %', p_stage, p_video_id,
            state ->> (p_stage || '_status'),
            coalesce('run ' || (state ->> (p_stage || '_run_id')) || ' works on it', 'so there is nothing to review')
            using errcode = 'CA002';
    end if;
    execute format('update videos set %1$s_status = ''done'' where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.complete_review(uuid, text) is
    'Record that a person has reviewed the captions: annotate to done.';

-- schemas/functions/stages/fail_stage.sql

create or replace function captionacc.fail_stage(
    p_video_id uuid, p_stage text, p_run_id text, p_message text, p_error_type text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_run_id, 'the run id');
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'error'
        and state -> (p_stage || '_error_details') ->> 'run_id' = p_run_id
    then
        return video;
    end if;
    -- A run that died before it began the stage may report its failure; one that ended or was displaced may not.
    if not (
        state ->> (p_stage || '_run_id') is null
        and state ->> (p_stage || '_status') = 'wait'
        and state ->> (p_stage || '_last_run_id') is distinct from p_run_id
    ) then
        perform _check_owner(video, p_stage, p_run_id);
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'error', %1$s_run_id = null, %1$s_last_run_id = $2, %1$s_finished_at = clock_timestamp(),
            %1$s_error_details = _error_details($3, $4, $2, %1$s_attempts)
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id, p_run_id, p_message, p_error_type;
    return result;
end
$$;
comment on function captionacc.fail_stage(uuid, text, text, text, text) is
    'Record that a run''s last attempt failed; repeating the call is harmless. CA002 if the run is not the '
    'worker.';

-- schemas/functions/stages/finish_boundaries.sql

create or replace function captionacc.finish_boundaries(
    p_video_id uuid, p_run_id text, p_version integer, p_caption_count integer, p_note text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    if video.current_cropped_frames_version is distinct from p_version then
        raise exception 'cropped-frames version % of video % is not the active one, %', p_version, p_video_id,
            coalesce(video.current_cropped_frames_version::text, 'none') using errcode = 'CA002';
    end if;
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        boundaries_status = 'annotate', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_finished_at = clock_timestamp(), boundaries_note = coalesce(p_note, ''),
        caption_count = p_caption_count,
        -- The same run continues with the text; if it does not, pending_text hands the text out.
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = clock_timestamp(), text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_boundaries(uuid, text, integer, integer, text) is
    'Record that captions.db is published: the captions are ready for a person, and their text for OCR.';

-- schemas/functions/stages/finish_layout.sql

create or replace function captionacc.finish_layout(
    p_video_id uuid,
    p_run_id text,
    p_duration_seconds double precision,
    p_width integer,
    p_height integer,
    p_video_codec text,
    p_frame_count bigint,
    p_layout_found boolean,
    p_layout_confidence double precision,
    p_crop_region jsonb default null,
    p_note text default '',
    p_bitrate bigint default null,
    p_full_frame_count integer default null,
    p_ocr_box_count integer default null,
    p_failed_ocr_count integer default null,
    p_damage text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'layout', p_run_id);
    if p_crop_region is not null then
        perform _check_crop_region(p_crop_region);
    end if;
    if p_layout_found is null or (p_layout_found and p_crop_region is null) then
        raise exception 'a layout that was found needs a crop region' using errcode = 'CA010';
    end if;
    -- Only a person may change an approval, not a later analysis.
    update videos set
        duration_seconds = p_duration_seconds, width = p_width, height = p_height, video_codec = p_video_codec,
        bitrate = coalesce(p_bitrate, bitrate), frame_count = p_frame_count,
        full_frame_count = coalesce(p_full_frame_count, full_frame_count),
        ocr_box_count = coalesce(p_ocr_box_count, ocr_box_count),
        failed_ocr_count = coalesce(p_failed_ocr_count, failed_ocr_count), damage = coalesce(p_damage, ''),
        layout_status = case when crop_region is null then 'annotate' else 'done' end,
        layout_error_details = null, layout_run_id = null, layout_finished_at = clock_timestamp(),
        layout_note = coalesce(p_note, ''), layout_found = p_layout_found,
        layout_confidence = p_layout_confidence, proposed_crop_region = p_crop_region::crop_region
    where id = p_video_id
    returning * into result;
    -- Without a caption band the confidence is that of its absence. A policy that accepts it processes the
    -- fallback region, which gives an empty result without asking a person.
    if result.crop_region is null and p_crop_region is not null and exists (
        select from tenants
        where id = result.tenant_id and p_layout_confidence >= auto_approve_layout_confidence
    ) then
        result := _approve_layout(p_video_id, 'auto', p_crop_region);
    end if;
    return result;
end
$$;
comment on function captionacc.finish_layout(
    uuid, text, double precision, integer, integer, text, bigint, boolean, double precision, jsonb,
    text, bigint, integer, integer, integer, text
) is
    'Record a layout: ready for a person, or approved as ''auto'' by the tenant''s policy. If no caption '
    'band was found, the confidence is that of its absence and the crop region is a fallback. An earlier '
    'approval and its crop region stay. CA002 if the run is not the worker.';

-- schemas/functions/stages/finish_run_cancellation.sql

create or replace function captionacc.finish_run_cancellation(p_run_id text) returns captionacc.run_cancellations
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result run_cancellations;
begin
    update run_cancellations set handled_at = coalesce(handled_at, clock_timestamp())
    where run_id = p_run_id returning * into result;
    if result.run_id is null then
        raise exception 'run % was not cancelled', coalesce(p_run_id, 'null') using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.finish_run_cancellation(text) is
    'Record that a cancelled run has ended or does not exist.';

-- schemas/functions/stages/finish_text.sql

create or replace function captionacc.finish_text(
    p_video_id uuid, p_run_id text, p_caption_count integer, p_note text default ''
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_owner(video, 'text', p_run_id);
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    update videos set
        text_status = 'annotate', text_error_details = null, text_run_id = null,
        text_finished_at = clock_timestamp(), text_note = coalesce(p_note, ''),
        text_caption_count = p_caption_count
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_text(uuid, text, integer, text) is
    'Record that the text of the captions is published; p_caption_count captions have text.';

-- schemas/functions/stages/pending_run_cancellations.sql

create or replace function captionacc.pending_run_cancellations(p_limit integer default 50)
returns setof captionacc.run_cancellations
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, 0, 1);
    return query select * from run_cancellations where handled_at is null order by requested_at limit p_limit;
end
$$;
comment on function captionacc.pending_run_cancellations(integer) is
    'Return cancelled runs that have not been ended yet, oldest first.';

-- schemas/functions/stages/release_stage.sql

create or replace function captionacc.release_stage(p_video_id uuid, p_stage text, p_run_id text)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    perform _check_owner(video, p_stage, p_run_id);
    execute format('update videos set %1$s_run_id = null where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.release_stage(uuid, text, text) is
    'Release the stage without changing its status: the run made only a part of its results. CA002 if the '
    'run is not the worker.';

-- schemas/functions/stages/retry_stage.sql

create or replace function captionacc.retry_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    status text;
    result videos;
begin
    perform _check_stage(p_stage);
    video := _locked_video(p_video_id);
    status := to_jsonb(video) ->> (p_stage || '_status');
    if status <> 'error' then
        raise exception 'the % stage of video % is in state %, not error', p_stage, p_video_id, status
            using errcode = 'CA002';
    end if;
    execute format(
        $sql$
        update videos set
            %1$s_status = 'wait', %1$s_error_details = null, %1$s_requested_at = null, %1$s_unstarted_requests = 0
        where id = $1 returning *
        $sql$, p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.retry_stage(uuid, text) is
    'Return a stage from error to wait, so that it is claimed again.';

-- schemas/functions/tenants/_accept_started_video.sql

create or replace function captionacc._accept_started_video() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- A run without a claim, such as one started by hand, uses the quota too.
    new.accepted_at := coalesce(new.accepted_at, clock_timestamp());
    return new;
end
$$;

-- schemas/functions/tenants/_count_accepted.sql

create or replace function captionacc._count_accepted() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- Statement-level: a claim of many videos changes each tenant's row once.
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

-- schemas/functions/tenants/_count_removed.sql

create or replace function captionacc._count_removed() returns trigger
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

-- schemas/functions/tenants/_quota_refusal.sql

create or replace function captionacc._quota_refusal(p_video captionacc.videos, p_more_videos integer, p_more_bytes bigint)
returns table (rejection_type text, message text)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    limits record;
    used record;
    today timestamptz := date_trunc('day', clock_timestamp() at time zone 'utc') at time zone 'utc';
    this_month timestamptz := date_trunc('month', clock_timestamp() at time zone 'utc') at time zone 'utc';
    amount numeric;
begin
    select * into limits from tenant_limits(p_video.tenant_id);
    select t.accepted_video_count + p_more_videos as accepted_video_count,
        t.accepted_bytes + p_more_bytes as accepted_bytes
    into used from tenants t where t.id = p_video.tenant_id;
    if used.accepted_video_count >= limits.video_count_limit then
        return query select 'video_count_exceeded', format(
            'There are %s videos and %s are allowed: delete one, or change to a larger plan.',
            used.accepted_video_count, limits.video_count_limit);
        return;
    end if;
    if used.accepted_bytes + p_video.size_bytes > limits.storage_quota_bytes then
        return query select 'storage_quota_exceeded', format(
            'This video of %s would exceed the storage limit of %s; %s are in use: delete videos, or '
            'change to a larger plan.', pg_size_pretty(p_video.size_bytes),
            pg_size_pretty(limits.storage_quota_bytes), pg_size_pretty(used.accepted_bytes));
        return;
    end if;
    if limits.daily_upload_limit is not null then
        select count(*) into amount from (
            select from videos v where v.tenant_id = p_video.tenant_id and v.accepted_at >= today
            limit limits.daily_upload_limit
        ) accepted;
        amount := amount + p_more_videos;
        if amount >= limits.daily_upload_limit then
            return query select 'daily_uploads_exceeded', format(
                'More than %s videos came in today (UTC): ask for this one again tomorrow.',
                limits.daily_upload_limit);
            return;
        end if;
    end if;
    if limits.processing_minutes_limit is not null then
        select coalesce(sum(metric_value), 0) into amount from usage_metrics
        where tenant_id = p_video.tenant_id and metric_type = 'processing_minutes' and recorded_at >= this_month;
        if amount >= limits.processing_minutes_limit then
            return query select 'processing_minutes_exceeded', format(
                'The %s minutes of processing of this month (UTC) are used up: ask again next month, or change '
                'to a larger plan.', limits.processing_minutes_limit);
        end if;
    end if;
end
$$;
comment on function captionacc._quota_refusal(captionacc.videos, integer, bigint) is
    'Return why a video may not be accepted now, in addition to others that are about to be accepted. No '
    'row if it may. The tenant''s row must be locked.';

-- schemas/functions/tenants/acknowledge_rejection.sql

create or replace function captionacc.acknowledge_rejection(p_rejection_id uuid, p_acknowledged_by text)
returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_acknowledged_by, 'who acknowledges');
    update caption_frame_extents_inference_rejections set
        acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
        acknowledged_by = coalesce(acknowledged_by, p_acknowledged_by)
    where id = p_rejection_id returning * into result;
    if result.id is null then
        raise exception 'rejection % is not in the catalogue', p_rejection_id using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.acknowledge_rejection(uuid, text) is
    'Record who acknowledged a rejection; the first acknowledgement stays.';

-- schemas/functions/tenants/ensure_tenant.sql

create or replace function captionacc.ensure_tenant(
    p_tenant_id uuid,
    p_name text,
    p_tier text default 'free',
    p_auto_approve_layout_confidence double precision default null
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_text(p_name, 'the tenant''s name');
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    if p_auto_approve_layout_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_auto_approve_layout_confidence using errcode = 'CA010';
    end if;
    insert into tenants (id, name, tier, auto_approve_layout_confidence)
    values (p_tenant_id, p_name, p_tier, p_auto_approve_layout_confidence)
    on conflict (id) do nothing;
    select * into strict result from tenants where id = p_tenant_id;
    return result;
end
$$;
comment on function captionacc.ensure_tenant(uuid, text, text, double precision) is
    'Create a tenant if it is missing; an existing tenant keeps its settings.';

-- schemas/functions/tenants/record_rejection.sql

create or replace function captionacc.record_rejection(
    p_tenant_id uuid,
    p_rejection_type text,
    p_message text,
    p_video_id uuid default null,
    p_cropped_frames_version integer default null,
    p_model_version text default null,
    p_run_id text default null,
    p_frame_count bigint default null,
    p_estimated_cost_usd numeric default null
) returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_message, 'the rejection''s message');
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into caption_frame_extents_inference_rejections (
        tenant_id, video_id, rejection_type, message, cropped_frames_version, model_version, run_id, frame_count,
        estimated_cost_usd
    ) values (
        p_tenant_id, p_video_id, p_rejection_type, left(p_message, 4000), p_cropped_frames_version,
        p_model_version, p_run_id, p_frame_count, p_estimated_cost_usd
    )
    returning * into result;
    return result;
end
$$;
comment on function captionacc.record_rejection(
    uuid, text, text, uuid, integer, text, text, bigint, numeric
) is
    'Record for a tenant that work was refused, and why.';

-- schemas/functions/tenants/set_auto_approve.sql

create or replace function captionacc.set_auto_approve(p_tenant_id uuid, p_confidence double precision)
returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if p_confidence not between 0 and 1 then
        raise exception 'confidence % is not in [0, 1]', p_confidence using errcode = 'CA010';
    end if;
    update tenants set auto_approve_layout_confidence = p_confidence where id = p_tenant_id
    returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_auto_approve(uuid, double precision) is
    'Set the layout confidence from which no person is asked (null: always ask), for layouts found from '
    'now on.';

-- schemas/functions/tenants/set_tenant_limits.sql

create or replace function captionacc.set_tenant_limits(
    p_tenant_id uuid,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null,
    p_quota_exempt boolean default false
) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update tenants set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit,
        quota_exempt = coalesce(p_quota_exempt, false)
    where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_limits(uuid, bigint, integer, numeric, integer, boolean) is
    'Set a tenant''s own limits; null: its tier''s limit. With p_quota_exempt no limit applies.';

-- schemas/functions/tenants/set_tenant_tier.sql

create or replace function captionacc.set_tenant_tier(p_tenant_id uuid, p_tier text) returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    if not exists (select from access_tiers where id = p_tier) then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    update tenants set tier = p_tier where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_tier(uuid, text) is
    'Change a tenant''s tier. Tiers belong to tenants, not to users.';

-- schemas/functions/tenants/set_tier_limits.sql

create or replace function captionacc.set_tier_limits(
    p_tier text,
    p_storage_quota_bytes bigint default null,
    p_video_count_limit integer default null,
    p_processing_minutes_limit numeric default null,
    p_daily_upload_limit integer default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    perform _check_limits(p_storage_quota_bytes, p_video_count_limit, p_processing_minutes_limit,
        p_daily_upload_limit);
    update access_tiers set
        storage_quota_bytes = p_storage_quota_bytes, video_count_limit = p_video_count_limit,
        processing_minutes_limit = p_processing_minutes_limit, daily_upload_limit = p_daily_upload_limit
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_limits(text, bigint, integer, numeric, integer) is
    'Set what tenants of a tier may use (null: no limit), for videos claimed from now on.';

-- schemas/functions/tenants/tenant_limits.sql

create or replace function captionacc.tenant_limits(p_tenant_id uuid)
returns table (
    storage_quota_bytes bigint, video_count_limit integer, processing_minutes_limit numeric,
    daily_upload_limit integer
)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select coalesce(t.storage_quota_bytes, a.storage_quota_bytes), coalesce(t.video_count_limit, a.video_count_limit),
        coalesce(t.processing_minutes_limit, a.processing_minutes_limit),
        coalesce(t.daily_upload_limit, a.daily_upload_limit)
    from tenants t join access_tiers a on a.id = t.tier
    where t.id = p_tenant_id and not t.quota_exempt
$$;
comment on function captionacc.tenant_limits(uuid) is
    'Return the limits that apply to a tenant; null, or no row, means no limit.';

-- schemas/functions/upkeep/abandoned_cropped_frames_versions.sql

create or replace function captionacc.abandoned_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select c.* from cropped_frames_versions c join videos v on v.id = c.video_id
        where c.status = 'processing'
            and c.created_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and v.boundaries_run_id is distinct from c.run_id
            and not exists (
                select from compute_calls o
                where o.video_id = c.video_id and o.cropped_frames_version = c.version
                    and o.status in ('pending', 'running')
            )
        order by c.created_at limit p_limit;
end
$$;
comment on function captionacc.abandoned_cropped_frames_versions(integer, double precision) is
    'Return unfinished versions allotted more than p_older_than_seconds ago, without a working run or an '
    'open call. fail_cropped_frames_version ends them.';

-- schemas/functions/upkeep/clear_expired_locks.sql

create or replace function captionacc.clear_expired_locks(
    p_older_than_seconds double precision default 3600, p_limit integer default 1000
) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    cleared integer;
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    with expired as materialized (
        select video_id, database_name from video_database_state
        where lock_token is not null
            and lock_expires_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by lock_expires_at limit p_limit
        for update skip locked
    )
    update video_database_state s
    set lock_token = null, lock_owner = null, lock_type = null, locked_at = null, lock_expires_at = null
    from expired e
    where s.video_id = e.video_id and s.database_name = e.database_name;
    get diagnostics cleared = row_count;
    return cleared;
end
$$;
comment on function captionacc.clear_expired_locks(double precision, integer) is
    'Clear leases that expired more than p_older_than_seconds ago and were not taken over; until then '
    'their holder could have renewed them. Returns their number.';

-- schemas/functions/upkeep/count_stage_outcomes.sql

create or replace function captionacc.count_stage_outcomes(p_older_than_seconds double precision) returns bigint
language sql stable
set search_path = captionacc, pg_temp
as $$
    select count(*) from stage_outcomes
    where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
$$;
comment on function captionacc.count_stage_outcomes(double precision) is
    'Return the number of rows that purge_stage_outcomes would delete.';

-- schemas/functions/upkeep/mark_video_objects_removed.sql

create or replace function captionacc.mark_video_objects_removed(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    select * into result from videos where id = p_video_id for update;
    if result.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif result.deleted_at is null then
        raise exception 'video % is not deleted: its objects are needed', p_video_id using errcode = 'CA002';
    end if;
    update cropped_frames_versions set objects_removed_at = clock_timestamp()
    where video_id = p_video_id and status in ('failed', 'archived') and objects_removed_at is null;
    update videos set objects_removed_at = coalesce(objects_removed_at, clock_timestamp())
    where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.mark_video_objects_removed(uuid) is
    'Record that a deleted video''s objects were removed from the bucket. CA002 if the video is not '
    'deleted.';

-- schemas/functions/upkeep/purge_audit_log.sql

create or replace function captionacc.purge_audit_log(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint;
begin
    -- A holder of the service key must not be able to erase their own recent actions.
    if not coalesce(p_older_than_seconds between 2592000 and 3e9, false) then
        raise exception 'the audit log of the last 30 days is not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from security_audit_log where occurred_at < before);
    end if;
    delete from security_audit_log where occurred_at < before;
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_audit_log(double precision, boolean) is
    'Delete old rows of the audit log; a dry run only counts them. The last 30 days always stay.';

-- schemas/functions/upkeep/purge_requests.sql

create or replace function captionacc.purge_requests(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint := 0;
    one bigint;
begin
    if not coalesce(p_older_than_seconds between 86400 and 3e9, false) then
        raise exception 'requests of the last day are not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from caption_ocr_requests where finished_at < before)
            + (select count(*) from run_cancellations where handled_at < before)
            + (select count(*) from caption_frame_extents_inference_rejections where acknowledged_at < before);
    end if;
    delete from caption_ocr_requests where finished_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    -- Its run ended long ago, so it cannot write any more.
    delete from run_cancellations where handled_at < before;
    get diagnostics one = row_count;
    removed := removed + one;
    delete from caption_frame_extents_inference_rejections where acknowledged_at < before;
    get diagnostics one = row_count;
    return removed + one;
end
$$;
comment on function captionacc.purge_requests(double precision, boolean) is
    'Delete ended OCR requests, handled run cancellations and acknowledged rejections older than '
    'p_older_than_seconds; a dry run only counts them.';

-- schemas/functions/upkeep/purge_stage_outcomes.sql

create or replace function captionacc.purge_stage_outcomes(p_older_than_seconds double precision) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed bigint;
begin
    if not coalesce(p_older_than_seconds >= 86400, false) then
        raise exception 'outcomes of the last day are not purged' using errcode = 'CA010';
    end if;
    delete from stage_outcomes where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_stage_outcomes(double precision) is
    'Delete old outcomes and return their number.';

-- schemas/functions/upkeep/removable_cropped_frames_versions.sql

create or replace function captionacc.removable_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400, p_status text default null
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    if p_status is not null and p_status not in ('failed', 'archived') then
        raise exception 'status % is not failed or archived', p_status using errcode = 'CA010';
    end if;
    return query
        select * from cropped_frames_versions
        where status in ('failed', 'archived') and objects_removed_at is null
            and (p_status is null or status = p_status)
            and coalesce(archived_at, failed_at) < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by video_id, version limit p_limit;
end
$$;
comment on function captionacc.removable_cropped_frames_versions(integer, double precision, text) is
    'Return failed and archived versions, or those of one status, that ended more than '
    'p_older_than_seconds ago and whose objects are still in the bucket.';

-- schemas/functions/upkeep/removable_videos.sql

create or replace function captionacc.removable_videos(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select * from videos
        where deleted_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and objects_removed_at is null
        order by deleted_at limit p_limit;
end
$$;
comment on function captionacc.removable_videos(integer, double precision) is
    'Return videos deleted more than p_older_than_seconds ago whose objects are still in the bucket.';

-- schemas/functions/videos/_locked_video.sql

create or replace function captionacc._locked_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found captionacc.videos;
begin
    select * into found from videos where id = p_video_id for update;
    if found.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    if found.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, found.deleted_at using errcode = 'CA007';
    end if;
    return found;
end
$$;
comment on function captionacc._locked_video(uuid) is
    'Return the video''s row, locked until the end of the transaction. CA001, CA007.';

-- schemas/functions/videos/find_content.sql

create or replace function captionacc.find_content(p_tenant_id uuid, p_sha256 text) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_sha256(p_sha256);
    return query
        select * from videos
        where tenant_id = p_tenant_id and content_sha256 = p_sha256 and deleted_at is null
        -- Successful videos before failed ones.
        order by 'error' in (layout_status, boundaries_status, text_status), created_at desc, id
        limit 1;
end
$$;
comment on function captionacc.find_content(uuid, text) is
    'Return the tenant''s video with this content: preferably one that has not failed, then the newest. No '
    'row if there is none.';

-- schemas/functions/videos/find_videos.sql

create or replace function captionacc.find_videos(p_name text, p_limit integer default 100) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    wanted text := clean_name(p_name);
    digits text := replace(lower(p_name), '-', '');
    is_start boolean := lower(p_name) ~ '^[0-9a-f-]+$' and length(digits) between 1 and 32;
begin
    perform _check_claim(p_limit, 0, 1);
    -- Two subqueries, each with an index of its own.
    return query
        select v.* from videos v
        where v.deleted_at is null and v.id in (
            select n.id from videos n where n.display_path = wanted and n.deleted_at is null
            union
            select s.id from videos s
            where is_start and s.deleted_at is null and starts_with(s.id::text, lower(p_name))
                and s.id between case when is_start then rpad(digits, 32, '0')::uuid end
                    and case when is_start then rpad(digits, 32, 'f')::uuid end
        )
        order by v.created_at desc, v.id limit p_limit;
end
$$;
comment on function captionacc.find_videos(text, integer) is
    'Return videos with this name or with an id that starts with it, newest first, without deleted ones.';

-- schemas/functions/videos/record_times.sql

create or replace function captionacc.record_times(
    p_video_id uuid,
    p_stage text,
    p_run_id text,
    p_frame_count bigint,
    p_duration_seconds double precision,
    p_time_spans jsonb default '[]'
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_stage(p_stage);
    perform _check_owner(video, p_stage, p_run_id);
    if (p_frame_count >= 1 and p_duration_seconds between 0 and 1e7) is not true then
        raise exception '% frames in % s are not a valid length of a video', p_frame_count, p_duration_seconds
            using errcode = 'CA010';
    end if;
    if p_time_spans is null or jsonb_typeof(p_time_spans) <> 'array' or exists (
        select from jsonb_array_elements(p_time_spans) span
        where jsonb_typeof(span) <> 'array' or jsonb_array_length(span) <> 3
            or jsonb_typeof(span -> 0) <> 'number' or jsonb_typeof(span -> 1) <> 'number'
            or jsonb_typeof(span -> 2) <> 'boolean'
    ) then
        raise exception 'time spans are rows of first_index, offset_seconds and held' using errcode = 'CA010';
    end if;
    update videos set
        frame_count = p_frame_count, duration_seconds = p_duration_seconds, time_spans = p_time_spans
    where id = p_video_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.record_times(uuid, text, text, bigint, double precision, jsonb) is
    'Record a video''s length and time offsets, as the run that last read it measured them. CA002 if the '
    'run is not the stage''s worker.';

-- schemas/functions/videos/register_video.sql

create or replace function captionacc.register_video(
    p_tenant_id uuid,
    p_video_id uuid,
    p_storage_key text,
    p_size_bytes bigint,
    p_display_path text,
    p_uploaded boolean default true,
    p_uploaded_by_user_id uuid default null,
    p_content_sha256 text default null,
    p_again boolean default false
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    perform _check_text(p_display_path, 'the display path');
    if length(p_display_path) > 1024 then
        raise exception 'a display path of % characters is too long', length(p_display_path)
            using errcode = 'CA010', hint = 'Give at most 1024.';
    end if;
    if p_size_bytes is null or p_size_bytes < 0 then
        raise exception 'size % is not a number of bytes', p_size_bytes using errcode = 'CA010';
    end if;
    perform _check_storage_key(p_storage_key, p_tenant_id);
    if p_content_sha256 is not null then
        perform _check_sha256(p_content_sha256);
        -- Of two concurrent registrations of one file, the second one sees the first.
        perform pg_advisory_xact_lock(hashtextextended(p_tenant_id::text || p_content_sha256, 0));
        if not coalesce(p_again, false) then
            select * into result from find_content(p_tenant_id, p_content_sha256);
            if result.id is not null and not exists (select from videos where id = p_video_id) then
                return result;
            end if;
        end if;
    end if;
    insert into videos (id, tenant_id, display_path, storage_key, size_bytes, uploaded_by_user_id, uploaded_at,
        content_sha256)
    values (p_video_id, p_tenant_id, p_display_path, p_storage_key, p_size_bytes, p_uploaded_by_user_id,
        case when p_uploaded then clock_timestamp() end, p_content_sha256)
    on conflict do nothing
    returning * into result;
    if result.id is not null then
        return result;
    end if;

    -- Repeated registration: only uploaded_at can change, once the object is complete.
    select * into result from videos where id = p_video_id for update;
    if result.id is null or result.tenant_id <> p_tenant_id or result.storage_key <> p_storage_key then
        raise exception 'video % or its storage key % is already registered with other values', p_video_id, p_storage_key
            using errcode = 'CA008';
    end if;
    result := _locked_video(p_video_id);
    if p_uploaded and result.uploaded_at is null then
        update videos set uploaded_at = clock_timestamp(), size_bytes = p_size_bytes,
            content_sha256 = coalesce(p_content_sha256, content_sha256)
        where id = p_video_id returning * into result;
    end if;
    return result;
end
$$;
comment on function captionacc.register_video(
    uuid, uuid, text, bigint, text, boolean, uuid, text, boolean
) is
    'Register an upload; repeating the call is harmless. A video is claimed only once it is uploaded. If '
    'another video of the tenant has the same content hash, that video''s row is returned and none is '
    'created, unless p_again is set.';

-- schemas/functions/videos/rename_video.sql

create or replace function captionacc.rename_video(p_video_id uuid, p_name text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    if btrim(coalesce(p_name, '')) = '' then
        raise exception 'a video''s name may not be empty' using errcode = 'CA010';
    elsif length(p_name) > 1024 then
        raise exception 'a name of % characters is too long', length(p_name)
            using errcode = 'CA010', hint = 'Give at most 1024.';
    elsif clean_name(p_name) = video.display_path then
        return video;
    end if;
    update videos set display_path = p_name where id = p_video_id returning * into result;
    perform _audit('rename_video', 'allowed', '', p_video_id,
        jsonb_build_object('from', video.display_path, 'to', result.display_path));
    return result;
end
$$;
comment on function captionacc.rename_video(uuid, text) is
    'Change a video''s display name, cleaned as by clean_name; nothing else depends on the name. Audited. '
    'CA007, CA010.';

-- schemas/functions/videos/set_demo.sql

create or replace function captionacc.set_demo(p_video_id uuid, p_is_demo boolean) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    perform _locked_video(p_video_id);
    update videos set is_demo = coalesce(p_is_demo, false) where id = p_video_id returning * into result;
    return result;
end
$$;
comment on function captionacc.set_demo(uuid, boolean) is 'Set whether everybody may see a video.';

-- schemas/functions/videos/soft_delete_video.sql

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

-- schemas/functions/web_actions/_act.sql

create or replace function captionacc._act(p_action text, p_video_id uuid, p_arguments jsonb) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := coalesce(_refused_caller(p_action, p_video_id), _over_limit(p_action));
    caller text := auth.uid()::text;
    video videos;
    reason text;
    hint text;
begin
    if answer is not null then
        return answer;
    end if;
    begin
        case p_action
            when 'approve_layout' then
                video := approve_layout(p_video_id, caller, nullif(p_arguments -> 'crop_region', 'null'));
                update videos
                set disable_age_boosting = coalesce((p_arguments ->> 'disable_age_boosting')::boolean, false)
                where id = p_video_id returning * into video;
            when 'request_caption_ocr' then
                answer := jsonb_build_object('request', to_jsonb(request_caption_ocr(p_video_id,
                    case when jsonb_typeof(p_arguments -> 'caption_ids') = 'array' then
                        array(select value::bigint from jsonb_array_elements_text(p_arguments -> 'caption_ids'))
                    end, caller)));
            when 'complete_review' then
                video := complete_review(p_video_id, p_arguments ->> 'stage');
            when 'retry' then
                video := retry_stage(p_video_id, p_arguments ->> 'stage');
            when 'cancel' then
                video := cancel_stage(p_video_id, p_arguments ->> 'stage', caller);
        end case;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused(p_action, p_video_id, sqlstate, reason, hint, 'refused_by_state');
    end;
    perform _audit(p_action, 'allowed', '', p_video_id, p_arguments);
    if video.id is null then
        select * into video from videos where id = p_video_id;
    end if;
    return jsonb_build_object('ok', true, 'video', to_jsonb(video)) || coalesce(answer, '{}');
end
$$;

-- schemas/functions/web_actions/_audit.sql

create or replace function captionacc._audit(
    p_action text, p_outcome text, p_reason text, p_video_id uuid, p_details jsonb default '{}'
) returns void
language sql
set search_path = captionacc, pg_temp
as $$
    insert into security_audit_log
        (user_id, role, tenant_id, action, outcome, reason, video_id, target_tenant_id, details)
    values (
        auth.uid(),
        coalesce(nullif(current_setting('role', true), 'none'), session_user::text),
        (select tenant_id from user_profiles where user_id = auth.uid()),
        p_action, p_outcome, p_reason, p_video_id,
        (select tenant_id from videos where id = p_video_id),
        -- Ten thousand caption ids take about 100 kB.
        case when octet_length(p_details::text) <= 4000 then p_details
            else jsonb_build_object('left_out_bytes', octet_length(p_details::text)) end
    )
$$;

-- schemas/functions/web_actions/_calls_left.sql

create or replace function captionacc._calls_left(p_outcome text) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    caller uuid := coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
    an_hour bigint := case p_outcome when 'refused' then 60 else 600 end;
    a_day bigint := case p_outcome when 'refused' then 300 else 14400 end;
    now timestamptz := clock_timestamp();
    in_hour bigint;
    in_day bigint;
begin
    -- Serializes the calls of one user, so that concurrent calls do not all see the same number.
    perform pg_advisory_xact_lock(hashtextextended('calls of ' || caller, 0));
    select count(*) filter (where occurred_at > now - interval '1 hour'), count(*) into in_hour, in_day
    from (
        select occurred_at from security_audit_log
        where coalesce(user_id, '00000000-0000-0000-0000-000000000000') = caller and outcome = p_outcome
            and occurred_at > now - interval '1 day'
        order by occurred_at desc limit a_day
    ) lately;
    return least(an_hour - in_hour, a_day - in_day);
end
$$;
comment on function captionacc._calls_left(text) is
    'Return how many more calls of the request''s user may be refused, or allowed, at this time.';

-- schemas/functions/web_actions/_over_limit.sql

create or replace function captionacc._over_limit(p_action text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if _calls_left('allowed') <= 0 then
        return _too_many('you have used your 600 actions of this hour', 'Try again later.');
    elsif p_action = 'request_caption_ocr' and (
        select count(*) from caption_ocr_requests where status = 'queued' and requested_by = auth.uid()::text
    ) >= 100 then
        return _too_many('100 of your OCR requests are waiting already', 'Wait until some of them are done.');
    end if;
    return null;
end
$$;
comment on function captionacc._over_limit(text) is
    'Return the refusal if the request''s user has too many actions, otherwise null. Records nothing.';

-- schemas/functions/web_actions/_refused.sql

create or replace function captionacc._refused(
    p_action text, p_video_id uuid, p_code text, p_message text, p_hint text, p_reason text
) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    left_over bigint := _calls_left('refused');
begin
    if left_over <= 0 then
        return _too_many('too many of your recent calls were refused', 'Try again in an hour.');
    end if;
    perform _audit(p_action, 'refused', p_reason, p_video_id, jsonb_build_object('code', p_code)
        || case when left_over = 1 then '{"further_refusals": "not recorded for now"}' else '{}' end::jsonb);
    perform set_config('response.status', case p_code
        when 'CA011' then '403' when 'CA001' then '404' when 'CA012' then '404'
        when 'CA003' then '400' when 'CA010' then '400' else '409' end, true);
    return jsonb_build_object(
        'ok', false, 'code', p_code, 'message', p_message, 'hint', nullif(p_hint, ''), 'details', null);
end
$$;

-- schemas/functions/web_actions/_refused_caller.sql

create or replace function captionacc._refused_caller(p_action text, p_video_id uuid) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    video videos;
    reason text;
begin
    select * into caller from user_profiles where user_id = auth.uid();
    select * into video from videos where id = p_video_id;
    if auth.uid() is null then
        return _refused(p_action, p_video_id, 'CA011', 'this action needs a signed-in user', '', 'not_signed_in');
    elsif caller.approval_status is distinct from 'approved' then
        return _refused(p_action, p_video_id, 'CA011', 'your account is not approved',
            'An owner or an admin has to approve it.', 'not_approved');
    elsif caller.is_platform_admin and video.id is not null then
        return null;
    end if;
    reason := case
        when video.id is null then 'unknown_video'
        when video.tenant_id <> caller.tenant_id then 'other_tenant'
        when caller.role <> 'owner' and video.uploaded_by_user_id is distinct from caller.user_id then 'other_member'
    end;
    if reason is not null then
        -- One answer for all reasons: a user who may not see a video does not learn whether it exists.
        return _refused(p_action, p_video_id, 'CA011', format('video %s does not exist or is not yours', p_video_id),
            '', reason);
    end if;
    return null;
end
$$;
comment on function captionacc._refused_caller(text, uuid) is
    'Return null if the request''s user may act on the video, otherwise the recorded refusal.';

-- schemas/functions/web_actions/_too_many.sql

create or replace function captionacc._too_many(p_message text, p_hint text) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform set_config('response.status', '429', true);
    return jsonb_build_object('ok', false, 'code', 'CA013', 'message', p_message, 'hint', p_hint, 'details', null);
end
$$;

-- schemas/functions/web_actions/app_acknowledge_rejection.sql

create or replace function captionacc.app_acknowledge_rejection(p_rejection_id uuid) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    rejection caption_frame_extents_inference_rejections;
    answer jsonb;
begin
    select * into caller from user_profiles where user_id = auth.uid() and approval_status = 'approved';
    select * into rejection from caption_frame_extents_inference_rejections where id = p_rejection_id;
    if caller.user_id is null or rejection.id is null or not (
        caller.is_platform_admin
        or (rejection.tenant_id = caller.tenant_id and (caller.role = 'owner' or exists (
            select from videos where id = rejection.video_id and uploaded_by_user_id = caller.user_id)))
    ) then
        return _refused('acknowledge_rejection', rejection.video_id, 'CA011',
            format('rejection %s does not exist or is not yours', p_rejection_id), '',
            case when caller.user_id is null then 'not_approved' when rejection.id is null then 'unknown_rejection'
                when rejection.tenant_id <> caller.tenant_id then 'other_tenant' else 'other_member' end);
    end if;
    answer := _over_limit('acknowledge_rejection');
    if answer is not null then
        return answer;
    end if;
    rejection := acknowledge_rejection(p_rejection_id, caller.user_id::text);
    perform _audit('acknowledge_rejection', 'allowed', '', rejection.video_id,
        jsonb_build_object('rejection_id', p_rejection_id));
    return jsonb_build_object('ok', true, 'rejection', to_jsonb(rejection));
end
$$;
comment on function captionacc.app_acknowledge_rejection(uuid) is 'Acknowledge a rejection.';

-- schemas/functions/web_actions/app_approve_layout.sql

create or replace function captionacc.app_approve_layout(
    p_video_id uuid, p_crop_region jsonb default null, p_disable_age_boosting boolean default false
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('approve_layout', p_video_id,
        jsonb_build_object('crop_region', p_crop_region, 'disable_age_boosting', p_disable_age_boosting))
$$;
comment on function captionacc.app_approve_layout(uuid, jsonb, boolean) is
    'Approve a crop region (null: the proposed one). With p_disable_age_boosting the following runs gain '
    'no priority by waiting.';

-- schemas/functions/web_actions/app_cancel.sql

create or replace function captionacc.app_cancel(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('cancel', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_cancel(uuid, text) is
    'Cancel a stage that a run works on or that waits for one.';

-- schemas/functions/web_actions/app_complete_review.sql

create or replace function captionacc.app_complete_review(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('complete_review', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_complete_review(uuid, text) is
    'Complete the review of boundaries or text.';

-- schemas/functions/web_actions/app_request_caption_ocr.sql

create or replace function captionacc.app_request_caption_ocr(p_video_id uuid, p_caption_ids bigint[] default null)
returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('request_caption_ocr', p_video_id, jsonb_build_object('caption_ids', p_caption_ids))
$$;
comment on function captionacc.app_request_caption_ocr(uuid, bigint[]) is
    'Request new OCR of some captions, or of all captions (null). The answer contains the request.';

-- schemas/functions/web_actions/app_retry.sql

create or replace function captionacc.app_retry(p_video_id uuid, p_stage text) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('retry', p_video_id, jsonb_build_object('stage', p_stage))
$$;
comment on function captionacc.app_retry(uuid, text) is 'Retry a stage that ended in an error.';

-- schemas/triggers.sql

create trigger tenants_touch_updated_at before update on captionacc.tenants
    for each row execute function captionacc.touch_updated_at();
create trigger videos_touch_updated_at before update on captionacc.videos
    for each row execute function captionacc.touch_updated_at();
create trigger video_database_state_touch_updated_at before update on captionacc.video_database_state
    for each row execute function captionacc.touch_updated_at();
create trigger compute_calls_touch_updated_at before update on captionacc.compute_calls
    for each row execute function captionacc.touch_updated_at();
create trigger user_profiles_touch_updated_at before update on captionacc.user_profiles
    for each row execute function captionacc.touch_updated_at();
create trigger caption_ocr_requests_touch_updated_at before update on captionacc.caption_ocr_requests
    for each row execute function captionacc.touch_updated_at();

create trigger videos_accept_started before update of layout_run_id on captionacc.videos for each row
    when (new.layout_run_id is not null and new.accepted_at is null)
    execute function captionacc._accept_started_video();

create trigger videos_count_accepted after update on captionacc.videos
    referencing old table as before_statement new table as after_statement
    for each statement execute function captionacc._count_accepted();

create trigger videos_count_removed after delete on captionacc.videos for each row
    when (old.accepted_at is not null and old.deleted_at is null)
    execute function captionacc._count_removed();

create trigger videos_cancel_outdated_ocr_requests after update on captionacc.videos for each row
    when (old.crop_region_version <> new.crop_region_version
        or (old.deleted_at is null and new.deleted_at is not null))
    execute function captionacc._cancel_outdated_ocr_requests();

create trigger videos_notify_inserted after insert on captionacc.videos
    for each row execute function captionacc._notify_work();

create trigger videos_notify_updated after update on captionacc.videos for each row
    when (
        (old.uploaded_at is null and new.uploaded_at is not null)
        or (old.layout_status = 'error' and new.layout_status = 'wait')
        or (old.boundaries_status = 'error' and new.boundaries_status = 'wait')
        or old.crop_region_version <> new.crop_region_version
    )
    execute function captionacc._notify_work();

create trigger videos_record_outcomes after update on captionacc.videos for each row
    when (
        new.layout_finished_at is distinct from old.layout_finished_at
        or new.boundaries_finished_at is distinct from old.boundaries_finished_at
        or new.text_finished_at is distinct from old.text_finished_at
        or new.layout_error_details is distinct from old.layout_error_details
        or new.boundaries_error_details is distinct from old.boundaries_error_details
        or new.text_error_details is distinct from old.text_error_details
    )
    execute function captionacc._record_stage_outcomes();

create trigger videos_clean_display_path before insert or update of display_path on captionacc.videos
    for each row execute function captionacc._clean_display_path();

-- A trigger, not a constraint: rows older than the rule must still be processed and deleted.
create trigger videos_check_storage_key before insert or update of storage_key, tenant_id on captionacc.videos
    for each row execute function captionacc._check_new_storage_key();

create trigger caption_frame_extents_inference_runs_check_storage_key
    before insert or update of storage_key, tenant_id on captionacc.caption_frame_extents_inference_runs
    for each row execute function captionacc._check_new_storage_key();

-- schemas/views.sql

-- Demo videos, which everybody may see, without tenant, uploader, storage key and run: a policy cannot restrict
-- columns. The views run with their owner's rights, because their readers have none on the tables. `offset 0`
-- makes them read-only even if somebody grants all rights on all tables to everybody.

create view captionacc.demo_videos with (security_barrier) as
    select id, display_path, size_bytes, created_at, updated_at, duration_seconds, width, height, frame_count,
        layout_status, crop_region, crop_region_version, boundaries_status, current_cropped_frames_version,
        caption_count, text_status, text_caption_count
    from captionacc.videos
    where is_demo and deleted_at is null
    offset 0;
comment on view captionacc.demo_videos is 'Public columns of the demo videos.';
create view captionacc.demo_cropped_frames_versions with (security_barrier) as
    select c.video_id, c.version, c.crop_region, c.crop_region_version, c.frame_rate, c.status, c.chunk_count,
        c.total_frames
    from captionacc.cropped_frames_versions c
    join captionacc.videos v on v.id = c.video_id
    where v.is_demo and v.deleted_at is null and c.status = 'active'
    offset 0;
comment on view captionacc.demo_cropped_frames_versions is 'Active cropped-frames versions of demo_videos.';

-- schemas/policies.sql

-- Who reads what. Rows are changed by functions only, so people have policies for reading and no others:
--   a member      their own videos and what belongs to them, their tenant, their profile
--   an owner      everything of the tenant
--   an admin      everything
--   signed in     the tiers
-- A profile counts once it is approved. The service role is not subject to policies. Demo videos are read
-- through views.sql, by everybody.
--
-- A subquery without columns of the row runs once a statement instead of once a row.

create policy videos_read on captionacc.videos for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by_user_id = (select auth.uid()) or (select captionacc.is_tenant_owner()))
    )
    or (select captionacc.is_platform_admin())
);

-- These follow the video: the subquery sees the videos that the same user sees.
create policy cropped_frames_versions_read on captionacc.cropped_frames_versions
    for select to authenticated
    using (video_id in (select v.id from captionacc.videos v));

create policy video_database_state_read
    on captionacc.video_database_state for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_frame_extents_inference_runs_read
    on captionacc.caption_frame_extents_inference_runs for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_ocr_requests_read
    on captionacc.caption_ocr_requests for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy compute_calls_read
    on captionacc.compute_calls for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy run_cancellations_read
    on captionacc.run_cancellations for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_frame_extents_inference_rejections_read
    on captionacc.caption_frame_extents_inference_rejections for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy tenants_read on captionacc.tenants for select to authenticated using (
    id = (select captionacc.current_tenant_id()) or (select captionacc.is_platform_admin())
);

create policy access_tiers_read on captionacc.access_tiers for select to authenticated using (true);

-- Own profiles before the approval too: the web app shows that the approval is pending.
create policy user_profiles_read on captionacc.user_profiles for select to authenticated using (
    user_id = (select auth.uid())
    or (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy usage_metrics_read on captionacc.usage_metrics for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy security_audit_log_read on captionacc.security_audit_log for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy stage_outcomes_read on captionacc.stage_outcomes for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy cost_reservations_read on captionacc.cost_reservations for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy backfills_read on captionacc.backfills for select to authenticated
    using ((select captionacc.is_platform_admin()));

create policy backfill_videos_read on captionacc.backfill_videos for select to authenticated
    using ((select captionacc.is_platform_admin()));

-- schemas/rights.sql

-- Who may read and call what, beyond the default privileges of the service role (schema.sql).

grant select on
    captionacc.access_tiers,
    captionacc.backfill_videos,
    captionacc.backfills,
    captionacc.caption_frame_extents_inference_rejections,
    captionacc.caption_frame_extents_inference_runs,
    captionacc.caption_ocr_requests,
    captionacc.compute_calls,
    captionacc.cost_reservations,
    captionacc.cropped_frames_versions,
    captionacc.run_cancellations,
    captionacc.security_audit_log,
    captionacc.stage_outcomes,
    captionacc.tenants,
    captionacc.usage_metrics,
    captionacc.user_profiles,
    captionacc.videos
to authenticated;
-- All columns but the token, with which anyone could renew and release the lock.
grant select (
    video_id, database_name, tenant_id, server_version, lock_owner, lock_type, locked_at, lock_expires_at,
    created_at, updated_at
) on captionacc.video_database_state to authenticated;
grant select on captionacc.demo_videos, captionacc.demo_cropped_frames_versions to anon, authenticated;
-- Without effect: no policy lets anon read rows of videos.
grant select (time_spans) on captionacc.videos to anon;

-- Rows are only added; purge_audit_log deletes old ones with its owner's rights.
revoke update, delete, truncate on captionacc.security_audit_log from service_role;

revoke execute on all functions in schema captionacc from public;
-- The policies call these with the reader's rights.
grant execute on function
    captionacc.current_tenant_id(),
    captionacc.is_tenant_owner(),
    captionacc.is_platform_admin()
to anon, authenticated;
grant execute on function
    captionacc.app_approve_layout(uuid, jsonb, boolean),
    captionacc.app_request_caption_ocr(uuid, bigint[]),
    captionacc.app_complete_review(uuid, text),
    captionacc.app_retry(uuid, text),
    captionacc.app_cancel(uuid, text),
    captionacc.app_acknowledge_rejection(uuid)
to authenticated;

-- schemas/publication.sql

-- Supabase Realtime sends the changes of the tables in its publication. A plain PostgreSQL has no publication.

do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime add table captionacc.videos;
    end if;
end
$$;
