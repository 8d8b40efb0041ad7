create or replace function captionacc._usd(p_amount numeric) returns text
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select to_char(p_amount, case when p_amount < 0.1 then 'FM999999990.0000' else 'FM999999990.00' end)
$$;
