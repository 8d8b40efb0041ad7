-- Videos that were taken over from the predecessor, the platform on Prefect. The videos' own rows say how far
-- each is; these rows say what it was made from, so that adopting again changes nothing or what has changed there.

create table captionacc.adoptions (
    video_id uuid primary key references captionacc.videos (id) on delete cascade,
    tenant_id uuid not null references captionacc.tenants (id),
    fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
    row_updated_at timestamptz not null,
    adopted_at timestamptz not null default clock_timestamp(),
    reported_at timestamptz
);
comment on table captionacc.adoptions is 'Videos taken over from the predecessor.';
comment on column captionacc.adoptions.fingerprint is
    'SHA-256 of the predecessor''s row and of the names, sizes and tags of its objects.';
comment on column captionacc.adoptions.row_updated_at is
    'videos.updated_at of the adopted row; another time shows that the video has changed here since.';
comment on column captionacc.adoptions.reported_at is
    'When Dagster had the partition and all materializations.';
create index adoptions_by_tenant on captionacc.adoptions (tenant_id, adopted_at, video_id);
alter table captionacc.adoptions enable row level security;
