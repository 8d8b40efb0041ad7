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
