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
