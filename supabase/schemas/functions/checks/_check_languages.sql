create or replace function captionacc._check_languages(p_languages text[]) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    tag text;
begin
    if p_languages is null or cardinality(p_languages) > 8 then
        raise exception 'a video has up to 8 languages, not %', coalesce(cardinality(p_languages), 0)
            using errcode = 'CA010';
    end if;
    foreach tag in array p_languages loop
        if coalesce(tag, '') !~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$' then
            raise exception '% is not a language tag', quote_literal(left(coalesce(tag, ''), 40))
                using errcode = 'CA010', hint = 'Give BCP-47 tags, such as ko or zh-Hant.';
        end if;
    end loop;
end
$$;
