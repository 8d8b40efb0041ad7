create or replace function captionacc._check_storage_key(p_key text, p_tenant_id uuid) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_storage_key(p_key, p_tenant_id) then
        raise exception 'storage key % is not a key inside the tenant''s prefix %/',
            coalesce(quote_literal(left(clean_name(p_key), 200)), 'null'), p_tenant_id
            using errcode = 'CA010', hint = 'Give one such as client/videos/ID/video.mp4 in it, of at most 900 bytes.';
    end if;
end
$$;
