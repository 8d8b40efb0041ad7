create or replace function captionacc.purge_jobs(p_older_than_seconds double precision default 7776000)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed integer;
begin
    if p_older_than_seconds is null or not p_older_than_seconds >= 3600 then
        raise exception 'jobs of the last hour are kept' using errcode = 'CA010';
    end if;
    delete from jobs where finished_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_jobs(double precision) is
    'Delete jobs that finished so long ago; return their number.';
