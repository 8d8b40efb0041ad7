create or replace function captionacc.finish_run_cancellation(p_run_id text) returns captionacc.run_cancellations
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result run_cancellations;
begin
    update run_cancellations set handled_at = coalesce(handled_at, clock_timestamp())
    where run_id = p_run_id returning * into result;
    if result.run_id is null then
        raise exception 'run % was not cancelled', coalesce(p_run_id, 'null') using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.finish_run_cancellation(text) is
    'Record that a cancelled run has ended or does not exist.';
