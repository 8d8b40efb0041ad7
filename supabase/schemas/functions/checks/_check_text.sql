create or replace function captionacc._check_text(p_value text, p_name text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if coalesce(p_value, '') = '' then
        raise exception '% is empty', p_name using errcode = 'CA010';
    end if;
end
$$;
