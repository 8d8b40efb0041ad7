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
