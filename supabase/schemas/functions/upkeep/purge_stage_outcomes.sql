create or replace function captionacc.purge_stage_outcomes(p_older_than_seconds double precision) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    removed bigint;
begin
    if not coalesce(p_older_than_seconds >= 86400, false) then
        raise exception 'outcomes of the last day are not purged' using errcode = 'CA010';
    end if;
    delete from stage_outcomes where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds);
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_stage_outcomes(double precision) is
    'Delete old outcomes and return their number.';
