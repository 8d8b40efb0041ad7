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
