create or replace function captionacc.stage_failures(p_seconds double precision default 3600)
returns table (stage text, error_type text, failures bigint)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select o.stage, o.error_type, count(*) from stage_outcomes o
    where o.outcome = 'error' and o.occurred_at > clock_timestamp() - make_interval(secs => p_seconds)
    group by o.stage, o.error_type
    order by count(*) desc, o.stage, o.error_type
    limit 200
$$;
comment on function captionacc.stage_failures(double precision) is
    'Count recent stage errors by kind: the last attempt of each stage, including cancellations and '
    'refusals.';
