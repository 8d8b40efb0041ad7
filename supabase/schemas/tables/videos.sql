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
    partition_key text,
    proposed_caption_zones jsonb not null default '[]' check (captionacc.is_caption_zones(proposed_caption_zones)),
    caption_zones jsonb not null default '[]' check (captionacc.is_caption_zones(caption_zones)),
    ocr_languages text[] not null default '{}' check (cardinality(ocr_languages) <= 8),
    priority_override integer check (priority_override between 0 and 100),
    ocr_languages_set_at timestamptz,
    text_read_from timestamptz,

    constraint videos_partition_key check (
        length(partition_key) <= 97 and (partition_key = id::text or right(partition_key, 37) = '~' || id::text)
    ),
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
comment on column captionacc.videos.partition_key is
    'Dagster''s partition key, {name}~{id}, fixed at the first claim; null before it. Videos of former '
    'versions have none: their key is the id.';
comment on column captionacc.videos.storage_key is 'Object key of the upload, in the tenant''s prefix.';
comment on column captionacc.videos.uploaded_at is
    'When the complete object was known to be in the bucket; null during the upload.';
comment on column captionacc.videos.deleted_at is
    'Time of the soft deletion; a deleted video is never processed.';
comment on column captionacc.videos.frame_count is 'Number of 10 Hz frame indices.';
comment on column captionacc.videos.damage is
    'Which parts of the file could not be decoded; empty for an undamaged file.';
comment on column captionacc.videos.ocr_languages is
    'Languages of the captions as BCP-47 tags; empty: the tenant''s.';
comment on column captionacc.videos.ocr_languages_set_at is 'When the languages were last changed.';
comment on column captionacc.videos.text_read_from is
    'When the run began whose texts were published last. Texts that it read before the languages were changed '
    'are read again.';
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
    '0 before the first approval, incremented with each changed region or zone.';
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
comment on column captionacc.videos.proposed_caption_zones is
    'Places of captions beside proposed_crop_region, found by layout analysis.';
comment on column captionacc.videos.priority_override is
    'Priority of the video''s runs that an operator chose with a job; null: the tier''s.';
comment on column captionacc.videos.caption_zones is
    'Approved places of captions beside crop_region, which is zone 0: zone_index, crop_region, language.';
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
