create or replace function captionacc._check_lease(p_database_name text, p_lease_seconds double precision) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_database_name is null or p_database_name not in ('layout', 'captions') then
        raise exception 'database % is not layout or captions', coalesce(p_database_name, 'null')
            using errcode = 'CA010';
    end if;
    if p_lease_seconds is null or not p_lease_seconds between 1 and 86400 then
        raise exception 'a lease of % s is not in [1, 86400]', p_lease_seconds using errcode = 'CA010';
    end if;
end
$$;
