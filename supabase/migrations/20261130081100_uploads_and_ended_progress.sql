create or replace function captionacc.app_register_upload(
    p_video_id uuid, p_storage_key text, p_size_bytes bigint, p_display_path text
) returns jsonb
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    caller user_profiles;
    answer jsonb;
    video videos;
    reason text;
    hint text;
begin
    select * into caller from user_profiles where user_id = auth.uid() and approval_status = 'approved';
    if caller.user_id is null then
        return _refused('register_upload', null, 'CA011', 'your account is not approved', '', 'not_approved');
    end if;
    answer := _over_limit('register_upload');
    if answer is not null then
        return answer;
    end if;
    if (
        select count(*) from (
            select from videos where uploaded_by_user_id = caller.user_id and uploaded_at is null
                and deleted_at is null and created_at > clock_timestamp() - interval '1 day'
            limit 100
        ) pending
    ) >= 100 then
        return _too_many('100 of your uploads of this day are not complete', 'Complete or delete some of them.');
    end if;
    begin
        -- Any other key may be that of a result, or of another member's file.
        if p_storage_key is distinct from format('%s/client/videos/%s/video.mp4', caller.tenant_id, p_video_id) then
            raise exception 'the storage key is not that of video %', p_video_id using errcode = 'CA010',
                hint = 'Give TENANT/client/videos/ID/video.mp4.';
        end if;
        video := register_upload(caller.tenant_id, p_video_id, p_storage_key, p_size_bytes, p_display_path,
            caller.user_id);
        if video.uploaded_by_user_id is distinct from caller.user_id then
            raise exception 'video % is already registered with other values', p_video_id using errcode = 'CA008';
        end if;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused('register_upload', null, sqlstate, reason, hint, 'refused_by_state');
    end;
    perform _audit('register_upload', 'allowed', '', p_video_id, jsonb_build_object('size_bytes', p_size_bytes));
    return jsonb_build_object('ok', true, 'video', to_jsonb(video));
end
$$;
comment on function captionacc.app_register_upload(uuid, text, bigint, text) is
    'Register a file that the user is about to upload into their tenant, as register_upload does. The key is '
    'that of the video: TENANT/client/videos/ID/video.mp4.';

create or replace function captionacc._act(p_action text, p_video_id uuid, p_arguments jsonb) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := coalesce(_refused_caller(p_action, p_video_id), _over_limit(p_action));
    caller text := auth.uid()::text;
    video videos;
    reason text;
    hint text;
begin
    if answer is not null then
        return answer;
    end if;
    begin
        case p_action
            when 'approve_layout' then
                video := approve_layout_by_person(p_video_id, caller, nullif(p_arguments -> 'crop_region', 'null'),
                    (p_arguments ->> 'disable_age_boosting')::boolean,
                    nullif(p_arguments -> 'caption_zones', 'null'));
            when 'request_caption_ocr' then
                answer := jsonb_build_object('request', to_jsonb(request_caption_ocr(p_video_id,
                    case when jsonb_typeof(p_arguments -> 'caption_ids') = 'array' then
                        array(select value::bigint from jsonb_array_elements_text(p_arguments -> 'caption_ids'))
                    end, caller)));
            when 'complete_review' then
                video := complete_review(p_video_id, p_arguments ->> 'stage');
            when 'retry' then
                video := retry_stage(p_video_id, p_arguments ->> 'stage');
            when 'cancel' then
                video := cancel_stage(p_video_id, p_arguments ->> 'stage', caller);
            when 'set_age_boosting' then
                video := set_age_boosting(p_video_id, (p_arguments ->> 'disabled')::boolean);
            when 'confirm_upload' then
                video := confirm_upload(p_video_id, (p_arguments ->> 'size_bytes')::bigint);
            when 'rename' then
                video := rename_video(p_video_id, p_arguments ->> 'name');
            when 'delete' then
                video := soft_delete_video(p_video_id);
            when 'create_job' then
                if p_arguments ->> 'priority' is not null and not is_platform_admin() then
                    raise exception 'only operators choose a priority' using errcode = 'CA011';
                end if;
                answer := jsonb_build_object('job', to_jsonb(create_job(p_video_id, p_arguments ->> 'type',
                    p_arguments -> 'parameters', (p_arguments ->> 'priority')::integer, caller)));
            when 'cancel_job' then
                answer := jsonb_build_object('job',
                    to_jsonb(cancel_job((p_arguments ->> 'job_id')::uuid, caller)));
            when 'finish_export' then
                answer := jsonb_build_object('job', to_jsonb(finish_export((p_arguments ->> 'job_id')::uuid,
                    nullif(p_arguments -> 'result', 'null'), p_arguments ->> 'message')));
        end case;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused(p_action, p_video_id, sqlstate, reason, hint, 'refused_by_state');
    end;
    if p_action not in ('rename', 'delete') then  -- which record themselves
        perform _audit(p_action, 'allowed', '', p_video_id, p_arguments);
    end if;
    if video.id is null then
        select * into video from videos where id = p_video_id;
    end if;
    return jsonb_build_object('ok', true, 'video', to_jsonb(video)) || coalesce(answer, '{}');
end
$$;

create or replace function captionacc.approve_layout_by_person(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb default null,
    p_disable_age_boosting boolean default false, p_caption_zones jsonb default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    -- First, so that the returned row has it.
    update videos set disable_age_boosting = coalesce(p_disable_age_boosting, false)
    where id = p_video_id and disable_age_boosting is distinct from coalesce(p_disable_age_boosting, false);
    result := approve_layout(p_video_id, p_approved_by, p_crop_region, p_caption_zones);
    return result;
end
$$;
comment on function captionacc.approve_layout_by_person(uuid, text, jsonb, boolean, jsonb) is
    'Approve a layout, as approve_layout does. With p_disable_age_boosting the following runs gain no priority by '
    'waiting.';

create or replace function captionacc.events_after(
    p_event_id text, p_progress_since timestamptz default null, p_limit integer default 500
) returns table (event_id text, kind text, video_id uuid, payload jsonb, occurred_at timestamptz)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    if p_event_id is null or p_event_id !~ '^\d{1,18}-\d{1,18}$' then
        raise exception 'event % is not the id of an event', left(coalesce(p_event_id, 'null'), 50)
            using errcode = 'CA010';
    end if;
    perform _check_claim(p_limit, 0, 1);
    return query
        select e.transaction_id::text || '-' || e.id::text, e.kind, e.video_id, e.payload, e.occurred_at
        from events e
        where (e.transaction_id, e.id)
                > (split_part(p_event_id, '-', 1)::xid8, split_part(p_event_id, '-', 2)::bigint)
            and e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        order by e.transaction_id, e.id limit p_limit;
    if p_progress_since is not null then
        return query
            select null, 'progress', p.video_id, to_jsonb(p) - 'tenant_id', p.updated_at
            from stage_progress p
            where p.updated_at > p_progress_since
                -- The last report of a run may be written while its stage ends: its row stays until the next change.
                and exists (select from videos v where v.id = p.video_id and p.run_id = case p.stage
                    when 'layout' then v.layout_run_id when 'boundaries' then v.boundaries_run_id
                    else v.text_run_id end)
            order by p.updated_at limit p_limit;
    end if;
end
$$;
comment on function captionacc.events_after(text, timestamptz, integer) is
    'Return the events after one, in order, that the caller may see, and then the progress of running stages '
    'that changed after p_progress_since (null: none), without ids. CA010 for what is no id.';
