-- Tables of the catalogue. Rows are changed by the functions of the next migration only.
-- Row-level security is on everywhere and no policy allows anything yet: deny by default.

create function captionacc.is_crop_region(p_value jsonb) returns boolean
language plpgsql immutable parallel safe
set search_path = ''
as $$
declare
    side text;
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
        and (p_value ->> 'crop_left')::numeric < (p_value ->> 'crop_right')::numeric
        and (p_value ->> 'crop_right')::numeric <= 1
        and (p_value ->> 'crop_top')::numeric >= 0
        and (p_value ->> 'crop_top')::numeric < (p_value ->> 'crop_bottom')::numeric
        and (p_value ->> 'crop_bottom')::numeric <= 1;
end
$$;
comment on function captionacc.is_crop_region(jsonb) is
    'Exactly crop_left, crop_top, crop_right, crop_bottom: fractions of the upright frame in [0, 1], not empty.';

create domain captionacc.crop_region as jsonb
    constraint crop_region_valid check (value is null or captionacc.is_crop_region(value));

create table captionacc.access_tiers (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,30}$'),
    base_priority integer not null check (base_priority between 0 and 100),
    description text not null default ''
);
comment on table captionacc.access_tiers is 'What a tenant is entitled to.';
comment on column captionacc.access_tiers.base_priority is 'Run priority before age and size are added (0 to 100).';
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
    updated_at timestamptz not null default now()
);
comment on table captionacc.tenants is 'Owners of videos, kept apart from each other.';
comment on column captionacc.tenants.auto_approve_layout_confidence is
    'Layouts of at least this confidence are approved without a person; null: never.';

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

    -- Facts, known after the first pass over the file.
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
    'One row a video: the file, what is known of it, and its three stages (layout, boundaries, text). '
    'A stage waits (wait), is ready for a person (annotate), reviewed (done) or failed (error).';
comment on column captionacc.videos.display_path is 'Name that people see; storage keys never derive from it.';
comment on column captionacc.videos.storage_key is 'Object key of the upload, in the tenant''s prefix.';
comment on column captionacc.videos.uploaded_at is 'When the object was known to be whole; null while it uploads.';
comment on column captionacc.videos.deleted_at is 'Soft deletion: such a video is never processed.';
comment on column captionacc.videos.frame_count is 'Number of 10 Hz frame indices.';
comment on column captionacc.videos.damage is 'What of the file could not be decoded; empty for a healthy one.';
comment on column captionacc.videos.layout_run_id is 'The run that works on the stage now; null when none does.';
comment on column captionacc.videos.layout_last_run_id is 'The last run that began the stage, kept after it ended.';
comment on column captionacc.videos.layout_attempts is
    'Attempts asked for; never goes back, so that it makes run keys unique. Asking again because no run began '
    'is the same attempt.';
comment on column captionacc.videos.layout_unstarted_requests is 'Requests since a run last began the stage.';
comment on column captionacc.videos.layout_error_details is
    'message, error_type, run_id, attempt and failed_at of the last attempt.';
comment on column captionacc.videos.layout_note is 'What a person should know, such as: no caption band was found.';
comment on column captionacc.videos.proposed_crop_region is 'What layout analysis found; counts for nothing until approved.';
comment on column captionacc.videos.layout_approved_by is 'Who approved the crop region; ''auto'' for the tenant''s policy.';
comment on column captionacc.videos.crop_region is 'The approved caption strip.';
comment on column captionacc.videos.crop_region_version is '0 before the first approval; +1 with each changed region.';
comment on column captionacc.videos.caption_count is 'Captions found by the last boundaries run.';
comment on column captionacc.videos.text_caption_count is 'Captions of which the last text run read text.';

create index videos_by_tenant on captionacc.videos (tenant_id, created_at desc, id);
create index videos_by_age on captionacc.videos (created_at desc, id);
-- What the sensors ask, every few seconds: their cost grows with what waits, not with what exists.
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
    'Version and lock of each client database. The lock is a lease: after lock_expires_at it is free.';
comment on column captionacc.video_database_state.server_version is 'Goes up with each published version of the file.';
comment on column captionacc.video_database_state.lock_token is 'Secret of the holder: renewing and releasing need it.';
comment on column captionacc.video_database_state.lock_owner is 'Who holds it, for people: a run, a user''s session.';
create index video_database_state_held on captionacc.video_database_state (lock_expires_at)
    where lock_token is not null;

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
    'Which model labelled which cropped frames; one row a video, version and model.';
create index caption_frame_extents_inference_runs_by_model
    on captionacc.caption_frame_extents_inference_runs (model_version);

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
    updated_at timestamptz not null default now()
);
comment on table captionacc.compute_calls is
    'Calls of compute functions, written before they are waited for, so that a retried run finds the one that is running.';
comment on column captionacc.compute_calls.call_id is 'The backend''s own id of the call; null until it is known.';
comment on column captionacc.compute_calls.request_hash is 'Equal for equal requests: a retry re-attaches by it.';
create index compute_calls_open on captionacc.compute_calls (video_id, function_name, request_hash)
    where status in ('pending', 'running');

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
comment on table captionacc.usage_metrics is 'What tenants used: one row an amount, such as processing minutes of one call.';
create index usage_metrics_by_tenant on captionacc.usage_metrics (tenant_id, metric_type, recorded_at);

create function captionacc.touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array['tenants', 'videos', 'video_database_state', 'compute_calls'] loop
        execute format(
            'create trigger %I before update on captionacc.%I for each row execute function captionacc.touch_updated_at()',
            name || '_touch_updated_at', name
        );
    end loop;
    for name in select tablename from pg_catalog.pg_tables where schemaname = 'captionacc' loop
        execute format('alter table captionacc.%I enable row level security', name);
    end loop;
end
$$;

revoke execute on all functions in schema captionacc from public;
