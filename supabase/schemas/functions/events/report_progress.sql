create or replace function captionacc.report_progress(
    p_video_id uuid, p_stage text, p_run_id text, p_percent integer, p_message text, p_done bigint, p_total bigint
) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    owner text;
    tenant uuid;
begin
    perform _check_stage(p_stage);
    perform _check_text(p_message, 'the message');
    if p_percent is null or p_percent not between 0 and 100 or p_done is null or p_done < 0
        or p_total is null or p_total < 0
    then
        raise exception 'progress of % %% (% of %) is not usable', p_percent, p_done, p_total using errcode = 'CA010';
    end if;
    -- Not locked: nothing depends on progress, and a run that has just ended must not wait for it.
    select case p_stage when 'layout' then v.layout_run_id when 'boundaries' then v.boundaries_run_id
        else v.text_run_id end, v.tenant_id into owner, tenant
    from videos v where v.id = p_video_id and v.deleted_at is null;
    if owner is distinct from p_run_id then
        return false;
    end if;
    insert into stage_progress as p (video_id, stage, tenant_id, run_id, percent, message, done, total)
    values (p_video_id, p_stage, tenant, p_run_id, p_percent, left(p_message, 200), p_done, p_total)
    on conflict (video_id, stage) do update set
        run_id = excluded.run_id, percent = excluded.percent, message = excluded.message, done = excluded.done,
        total = excluded.total, updated_at = clock_timestamp()
    where p.run_id <> excluded.run_id or p.updated_at <= clock_timestamp() - interval '0.9 s';
    if not found then
        return false;
    end if;
    update jobs j set
        progress = greatest(j.progress, _job_progress(j.type, p_stage, p_percent)),
        message = left(p_message, 1000), updated_at = clock_timestamp()
    where j.video_id = p_video_id and j.finished_at is null and p_stage = any(_job_stages(j.type));
    perform _notify_event(tenant);
    return true;
end
$$;
comment on function captionacc.report_progress(uuid, text, text, integer, text, bigint, bigint) is
    'Record the progress of a stage''s worker. Returns false, and changes nothing, for another run and within '
    '0.9 s of the last report.';
