create or replace function captionacc.open_compute_calls()
returns table (function_name text, backend text, status text, calls bigint, oldest_at timestamptz)
language sql stable
set search_path = captionacc, pg_temp
as $$
    select c.function_name, c.backend, c.status, count(*), min(c.created_at)
    from compute_calls c where c.status in ('pending', 'running')
    group by c.function_name, c.backend, c.status
    order by c.function_name, c.backend, c.status
$$;
comment on function captionacc.open_compute_calls() is 'Return the calls that are open now.';
