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
