create or replace function captionacc._check_sha256(p_sha256 text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_sha256 is null or p_sha256 !~ '^[0-9a-f]{64}$' then
        raise exception '% is not a SHA-256 in hexadecimal digits', coalesce(quote_literal(left(p_sha256, 80)), 'null')
            using errcode = 'CA010';
    end if;
end
$$;
