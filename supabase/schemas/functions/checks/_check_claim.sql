create or replace function captionacc._check_claim(p_limit integer, p_restart_after_seconds double precision, p_max integer)
returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception 'limit % is not in [1, 10000]', p_limit using errcode = 'CA010';
    end if;
    if p_restart_after_seconds is null or not p_restart_after_seconds >= 0 or p_max is null or p_max < 1 then
        raise exception 'restart after % s at most % times is not usable', p_restart_after_seconds, p_max
            using errcode = 'CA010';
    end if;
end
$$;
