create or replace function captionacc.is_language_tag(p_value text) returns boolean
language sql immutable parallel safe
set search_path = ''
as $$
    select p_value ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$' and length(p_value) <= 35
$$;
comment on function captionacc.is_language_tag(text) is
    'Return whether the value has the form of a BCP-47 tag. Null for null.';

create or replace function captionacc.is_caption_zones(p_value jsonb) returns boolean
language plpgsql immutable parallel safe
set search_path = ''
as $$
declare
    zone jsonb;
    before integer := 0;
begin
    if p_value is null or jsonb_typeof(p_value) <> 'array' then
        return false;
    end if;
    for zone in select value from jsonb_array_elements(p_value) loop
        if jsonb_typeof(zone) <> 'object'
            or (select count(*) from jsonb_object_keys(zone)) <> 3
            or jsonb_typeof(zone -> 'zone_index') is distinct from 'number'
            or (zone ->> 'zone_index') !~ '^[1-7]$'
            or (zone ->> 'zone_index')::integer <= before
            or not captionacc.is_crop_region(zone -> 'crop_region')
            or not zone ? 'language'
            or jsonb_typeof(zone -> 'language') not in ('null', 'string')
            or not captionacc.is_language_tag(zone ->> 'language')
        then
            return false;
        end if;
        before := (zone ->> 'zone_index')::integer;
    end loop;
    return true;
end
$$;
comment on function captionacc.is_caption_zones(jsonb) is
    'Return whether the value is a list of zone_index (1 to 7, ascending), crop_region and language '
    '(BCP 47, or null).';

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

revoke execute on function captionacc.is_language_tag(text) from public;
