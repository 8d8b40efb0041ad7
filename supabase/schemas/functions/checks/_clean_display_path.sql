create or replace function captionacc._clean_display_path() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    new.display_path := clean_name(new.display_path);
    return new;
end
$$;
