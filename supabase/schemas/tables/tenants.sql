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
    month_cost_limit_usd numeric check (month_cost_limit_usd >= 0),
    ocr_languages text[] not null default '{}' check (cardinality(ocr_languages) <= 8)
);
comment on table captionacc.tenants is 'Owners of videos, isolated from each other.';
comment on column captionacc.tenants.auto_approve_layout_confidence is
    'Layouts with at least this confidence are approved without a person; null: never.';
comment on column captionacc.tenants.ocr_languages is
    'Languages of the captions of videos without their own, as BCP-47 tags; empty: the installation''s.';
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
