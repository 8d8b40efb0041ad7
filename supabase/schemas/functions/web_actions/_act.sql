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
