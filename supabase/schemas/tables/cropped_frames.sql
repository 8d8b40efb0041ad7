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
    caption_zones jsonb not null default '[]' check (captionacc.is_caption_zones(caption_zones)),
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
comment on column captionacc.cropped_frames_versions.caption_zones is
    'Zones beside crop_region whose chunks the version has too.';
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
