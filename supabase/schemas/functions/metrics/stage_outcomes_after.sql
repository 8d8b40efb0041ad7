create or replace function captionacc.stage_outcomes_after(p_after timestamptz, p_after_id bigint, p_limit integer default 1000)
returns setof captionacc.stage_outcomes
language sql stable
set search_path = captionacc, pg_temp
as $$
    select * from stage_outcomes
    -- Rows appear when their transaction ends. Older rows than any statement's time-out are complete.
    where (occurred_at, id) > (p_after, p_after_id) and occurred_at < clock_timestamp() - interval '20 seconds'
    order by occurred_at, id
    limit least(p_limit, 1000)
$$;
comment on function captionacc.stage_outcomes_after(timestamptz, bigint, integer) is
    'Return up to 1000 outcomes after a given one, oldest first, except those of the last 20 seconds.';
