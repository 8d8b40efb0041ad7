create or replace function captionacc.clean_name(p_name text) returns text
language plpgsql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
begin
    if getdatabaseencoding() = 'UTF8' then
        -- Control characters, line breaks and bidirectional overrides would garble terminals and logs.
        return left(regexp_replace(normalize(p_name, nfc),
            '[\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]', chr(65533), 'g'), 1024);
    end if;
    return left(regexp_replace(p_name, '[\x01-\x1f\x7f]', '?', 'g'), 1024);
end
$$;
comment on function captionacc.clean_name(text) is
    'Return a name as it is stored and searched: NFC, each control character, line break and '
    'bidirectional override replaced by U+FFFD, at most 1024 characters.';
