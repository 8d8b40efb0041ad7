create or replace function captionacc._count_removed() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update tenants set accepted_video_count = accepted_video_count - 1,
        accepted_bytes = accepted_bytes - old.size_bytes
    where id = old.tenant_id;
    return null;
end
$$;
