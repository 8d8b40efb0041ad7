create or replace function captionacc._checked_zones(p_caption_zones jsonb) returns jsonb
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    zones jsonb;
begin
    -- A client may leave out the language, and order the zones as it likes.
    if jsonb_typeof(p_caption_zones) = 'array' then
        select coalesce(jsonb_agg(
            case when jsonb_typeof(zone) = 'object' then '{"language": null}'::jsonb || zone else zone end
            order by zone -> 'zone_index'), '[]')
        into zones from jsonb_array_elements(p_caption_zones) as zone;
    end if;
    if zones is null or not is_caption_zones(zones) then
        raise exception 'caption zones % are not usable', coalesce(p_caption_zones::text, 'null')
            using errcode = 'CA003',
                hint = 'Give each zone a zone_index from 1 to 7 of its own, a crop_region, and a language or null.';
    end if;
    return zones;
end
$$;
comment on function captionacc._checked_zones(jsonb) is
    'Return the further caption zones in order and complete. CA003 if they are not usable.';
