create or replace function captionacc._check_languages(p_languages text[]) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    tag text;
begin
    if p_languages is null or cardinality(p_languages) > 8 then
        raise exception 'up to 8 languages can be given, not %', coalesce(cardinality(p_languages), 0)
            using errcode = 'CA010';
    end if;
    foreach tag in array p_languages loop
        if not coalesce(is_language_tag(tag), false) then
            raise exception '% is not a language tag', quote_literal(left(coalesce(tag, ''), 40))
                using errcode = 'CA010', hint = 'Give BCP-47 tags, such as ko or zh-Hant.';
        end if;
    end loop;
end
$$;
