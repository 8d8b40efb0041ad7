create or replace function captionacc._locked_compute_call(p_id uuid) returns captionacc.compute_calls
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found compute_calls;
begin
    select * into found from compute_calls where id = p_id for update;
    if found.id is null then
        raise exception 'compute call % is not in the catalogue', coalesce(p_id::text, 'null') using errcode = 'CA012';
    end if;
    return found;
end
$$;
