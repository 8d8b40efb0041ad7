create or replace function captionacc.finish_export(p_job_id uuid, p_result jsonb, p_message text default '')
returns captionacc.jobs
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result jobs;
begin
    select * into result from jobs where id = p_job_id and type = 'export' for update;
    if result.id is null then
        raise exception 'export job % is not in the catalogue', p_job_id using errcode = 'CA012';
    elsif result.finished_at is not null then
        return result;
    end if;
    update jobs j set
        state = case when p_result is null then 'failed' else 'succeeded' end, result = p_result,
        message = left(coalesce(p_message, ''), 1000), progress = case when p_result is null then j.progress else 100 end,
        started_at = coalesce(j.started_at, clock_timestamp()), finished_at = clock_timestamp(),
        updated_at = clock_timestamp()
    where j.id = p_job_id
    returning * into result;
    return result;
end
$$;
comment on function captionacc.finish_export(uuid, jsonb, text) is
    'End an export with its result, or as failed without one. CA012.';
