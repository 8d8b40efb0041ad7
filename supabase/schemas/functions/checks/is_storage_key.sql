create or replace function captionacc.is_storage_key(p_key text, p_tenant_id uuid) returns boolean
language sql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
    select coalesce(
        starts_with(p_key, p_tenant_id::text || '/')
        and octet_length(p_key) <= 900
        and p_key !~ '(^|/)\.{0,2}(/|$)'
        and p_key !~ '[\\\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]',
        false)
$$;
comment on function captionacc.is_storage_key(text, uuid) is
    'Return whether the key is in the tenant''s prefix, has at most 900 bytes and no empty, ''.'' or ''..'' '
    'part, backslash, control character, line break or bidirectional override.';
