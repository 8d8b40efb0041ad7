create or replace function captionacc._check_stage(p_stage text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_stage is null or p_stage not in ('layout', 'boundaries', 'text') then
        raise exception 'stage % is not layout, boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010';
    end if;
end
$$;
