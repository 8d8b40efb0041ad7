create or replace function captionacc.create_job(
    p_video_id uuid, p_type text, p_parameters jsonb default '{}', p_priority integer default null,
    p_requested_by text default 'service'
) returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    states jsonb;
    stages text[] := _job_stages(p_type);
    stage text;
    result jobs;
begin
    perform _check_text(p_requested_by, 'who asks');
    if p_type is null or p_type not in ('process', 'layout', 'captions', 'caption_text', 'export') then
        raise exception 'job type % is not process, layout, captions, caption_text or export',
            coalesce(p_type, 'null') using errcode = 'CA010';
    elsif p_priority is not null and p_priority not between 0 and 100 then
        raise exception 'priority % is not in [0, 100]', p_priority using errcode = 'CA010';
    elsif p_parameters is null or jsonb_typeof(p_parameters) <> 'object'
        or octet_length(p_parameters::text) > 4000
    then
        raise exception 'the parameters are not a JSON object of at most 4000 bytes' using errcode = 'CA010';
    end if;
    video := _locked_video(p_video_id);
    -- A repeated request changes nothing.
    select * into result from jobs where video_id = p_video_id and type = p_type and finished_at is null;
    if result.id is not null then
        return result;
    end if;
    if video.uploaded_at is null then
        raise exception 'video % is not uploaded yet', p_video_id using errcode = 'CA002';
    elsif p_type = 'captions' and video.layout_status <> 'done' then
        raise exception 'the layout of video % is not approved (it is in state %)', p_video_id, video.layout_status
            using errcode = 'CA002', hint = 'Approve it first.';
    elsif p_type in ('caption_text', 'export') and video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    states := to_jsonb(video);
    foreach stage in array stages loop
        if states ->> (stage || '_run_id') is not null then
            raise exception 'run % works on the % stage of video %', states ->> (stage || '_run_id'), stage,
                p_video_id using errcode = 'CA002', hint = 'Wait for it, or cancel it.';
        end if;
    end loop;
    if p_parameters ? 'languages' then
        perform set_video_languages(p_video_id,
            array(select jsonb_array_elements_text(p_parameters -> 'languages')));
    end if;
    foreach stage in array stages loop
        perform _request_stage(p_video_id, stage);
    end loop;
    if p_type <> 'export' then
        update videos set priority_override = p_priority
        where id = p_video_id and priority_override is distinct from p_priority;
    end if;
    insert into jobs (tenant_id, video_id, type, parameters, priority, requested_by)
    values (video.tenant_id, p_video_id, p_type, p_parameters, p_priority, p_requested_by)
    returning * into result;
    return result;
end
$$;
comment on function captionacc.create_job(uuid, text, jsonb, integer, text) is
    'Request work on a video: its stages wait for a run, and the job follows them. An open job of the same '
    'type is returned. CA002 if a run works on one of the stages, or if their inputs are missing.';
