create or replace function captionacc.count_stage_outcomes(p_older_than_seconds double precision) returns bigint
language sql stable
set search_path = captionacc, pg_temp
as $$
    select count(*) from stage_outcomes
    where occurred_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
$$;
comment on function captionacc.count_stage_outcomes(double precision) is 'How many purge_stage_outcomes would remove.';
