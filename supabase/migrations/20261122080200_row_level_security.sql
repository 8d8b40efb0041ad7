-- Who sees what. Rows are changed by functions only, so people have policies for reading and no others:
--   a member      their own videos and what belongs to them, their tenant, their profile
--   an owner      everything of the tenant
--   an admin      everything
--   everybody     demo videos and their cropped frames; signed in: the tiers
-- A profile counts once it is approved. The service role is not subject to policies.

grant usage on schema captionacc to anon, authenticated;

create function captionacc.current_tenant_id() returns uuid
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select tenant_id from user_profiles where user_id = auth.uid() and approval_status = 'approved'
$$;
comment on function captionacc.current_tenant_id() is 'The tenant of the user of the request; null without approval.';

create function captionacc.is_tenant_owner() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and role = 'owner'
    )
$$;
comment on function captionacc.is_tenant_owner() is 'Whether the user of the request owns their tenant.';

create function captionacc.is_platform_admin() returns boolean
language sql stable security definer
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from user_profiles
        where user_id = auth.uid() and approval_status = 'approved' and is_platform_admin
    )
$$;
comment on function captionacc.is_platform_admin() is 'Whether the user of the request is an admin of the platform.';

revoke execute on all functions in schema captionacc from public;
grant execute on function captionacc.current_tenant_id(), captionacc.is_tenant_owner(), captionacc.is_platform_admin()
    to anon, authenticated;

-- Subqueries without columns of the row run once a statement instead of once a row.
create policy videos_read on captionacc.videos for select to anon, authenticated using (
    (is_demo and deleted_at is null)
    or (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by_user_id = (select auth.uid()) or (select captionacc.is_tenant_owner()))
    )
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.videos to authenticated;
-- Of a demo video strangers need not know who uploaded it, nor how its runs failed.
grant select (
    id, display_path, size_bytes, created_at, updated_at, duration_seconds, width, height, frame_count,
    layout_status, crop_region, crop_region_version, boundaries_status, current_cropped_frames_version,
    caption_count, text_status, text_caption_count, is_demo
) on captionacc.videos to anon;

-- These follow the video: the subquery sees the videos that the same user sees.
create policy cropped_frames_versions_read on captionacc.cropped_frames_versions
    for select to anon, authenticated
    using (video_id in (select v.id from captionacc.videos v));
grant select on captionacc.cropped_frames_versions to authenticated;
grant select (video_id, version, crop_region, crop_region_version, frame_rate, status, chunk_count, total_frames)
    on captionacc.cropped_frames_versions to anon;

do $$
declare
    name text;
begin
    -- A demo video is open to all, what happens around it is not.
    foreach name in array array[
        'video_database_state', 'caption_frame_extents_inference_runs', 'caption_ocr_requests', 'compute_calls',
        'run_cancellations', 'caption_frame_extents_inference_rejections'
    ] loop
        execute format(
            $sql$
            create policy %1$s on captionacc.%2$I for select to authenticated using (
                (
                    tenant_id = (select captionacc.current_tenant_id())
                    and ((select captionacc.is_tenant_owner()) or exists (
                        select from captionacc.videos v
                        where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
                    ))
                )
                or (select captionacc.is_platform_admin())
            )
            $sql$, quote_ident(left(name, 50) || '_read'), name);
    end loop;
    foreach name in array array[
        'caption_frame_extents_inference_runs', 'caption_ocr_requests', 'compute_calls', 'run_cancellations',
        'caption_frame_extents_inference_rejections'
    ] loop
        execute format('grant select on captionacc.%I to authenticated', name);
    end loop;
end
$$;
-- All but the token: whoever knows it can renew and release the lock.
grant select (
    video_id, database_name, tenant_id, server_version, lock_owner, lock_type, locked_at, lock_expires_at,
    created_at, updated_at
) on captionacc.video_database_state to authenticated;

create policy tenants_read on captionacc.tenants for select to authenticated using (
    id = (select captionacc.current_tenant_id()) or (select captionacc.is_platform_admin())
);
grant select on captionacc.tenants to authenticated;

create policy access_tiers_read on captionacc.access_tiers for select to authenticated using (true);
grant select on captionacc.access_tiers to authenticated;

-- Their own also before the approval: the web app has to say that it is pending.
create policy user_profiles_read on captionacc.user_profiles for select to authenticated using (
    user_id = (select auth.uid())
    or (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.user_profiles to authenticated;

create policy usage_metrics_read on captionacc.usage_metrics for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.usage_metrics to authenticated;

create policy security_audit_log_read on captionacc.security_audit_log for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);
grant select on captionacc.security_audit_log to authenticated;
