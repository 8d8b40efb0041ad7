-- Who reads what. Rows are changed by functions only, so people have policies for reading and no others:
--   a member      their own videos and what belongs to them, their tenant, their profile
--   an owner      everything of the tenant
--   an admin      everything
--   signed in     the tiers
-- A profile counts once it is approved. The service role is not subject to policies. Demo videos are read
-- through views.sql, by everybody.
--
-- A subquery without columns of the row runs once a statement instead of once a row.

create policy videos_read on captionacc.videos for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and (uploaded_by_user_id = (select auth.uid()) or (select captionacc.is_tenant_owner()))
    )
    or (select captionacc.is_platform_admin())
);

-- What belongs to a video follows it. The subquery looks up one video; one that lists the user's videos would read
-- all rows of all tenants.
create policy cropped_frames_versions_read
    on captionacc.cropped_frames_versions for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy video_database_state_read
    on captionacc.video_database_state for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_frame_extents_inference_runs_read
    on captionacc.caption_frame_extents_inference_runs for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_ocr_requests_read
    on captionacc.caption_ocr_requests for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy compute_calls_read
    on captionacc.compute_calls for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy run_cancellations_read
    on captionacc.run_cancellations for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy caption_frame_extents_inference_rejections_read
    on captionacc.caption_frame_extents_inference_rejections for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy tenants_read on captionacc.tenants for select to authenticated using (
    id = (select captionacc.current_tenant_id()) or (select captionacc.is_platform_admin())
);

create policy access_tiers_read on captionacc.access_tiers for select to authenticated using (true);

-- Own profiles before the approval too: the web app shows that the approval is pending.
create policy user_profiles_read on captionacc.user_profiles for select to authenticated using (
    user_id = (select auth.uid())
    or (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy usage_metrics_read on captionacc.usage_metrics for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy security_audit_log_read on captionacc.security_audit_log for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy stage_outcomes_read on captionacc.stage_outcomes for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy cost_reservations_read on captionacc.cost_reservations for select to authenticated using (
    (tenant_id = (select captionacc.current_tenant_id()) and (select captionacc.is_tenant_owner()))
    or (select captionacc.is_platform_admin())
);

create policy backfills_read on captionacc.backfills for select to authenticated
    using ((select captionacc.is_platform_admin()));

create policy backfill_videos_read on captionacc.backfill_videos for select to authenticated
    using ((select captionacc.is_platform_admin()));

create policy adoptions_read on captionacc.adoptions for select to authenticated
    using ((select captionacc.is_platform_admin()));

create policy jobs_read
    on captionacc.jobs for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy events_read
    on captionacc.events for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);

create policy stage_progress_read
    on captionacc.stage_progress for select to authenticated using (
    (
        tenant_id = (select captionacc.current_tenant_id())
        and ((select captionacc.is_tenant_owner()) or exists (
            select from captionacc.videos v
            where v.id = video_id and v.uploaded_by_user_id = (select auth.uid())
        ))
    )
    or (select captionacc.is_platform_admin())
);
