create or replace function captionacc._check_new_storage_key() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_storage_key(new.storage_key, new.tenant_id);
    return new;
end
$$;
