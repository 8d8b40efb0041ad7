create or replace function captionacc.pending_run_cancellations(p_limit integer default 50)
returns setof captionacc.run_cancellations
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, 0, 1);
    return query select * from run_cancellations where handled_at is null order by requested_at limit p_limit;
end
$$;
comment on function captionacc.pending_run_cancellations(integer) is
    'Return cancelled runs that have not been ended yet, oldest first.';
