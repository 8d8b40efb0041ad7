create or replace function captionacc.count_stage_outcomes(p_older_than_seconds double precision) returns bigint
language sql stable
set search_path = captionacc, pg_temp
as $$
    select count(*) from stage_outcomes
    where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
$$;
comment on function captionacc.count_stage_outcomes(double precision) is
    'Return the number of rows that purge_stage_outcomes would delete.';
