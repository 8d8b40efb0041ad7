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
