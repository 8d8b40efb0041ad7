create or replace function captionacc._zones_beside(p_caption_zones jsonb, p_crop_region jsonb) returns jsonb
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select coalesce(jsonb_agg(zone order by zone -> 'zone_index'), '[]')
    from jsonb_array_elements(p_caption_zones) as zone
    where (zone #>> '{crop_region,crop_left}')::numeric >= (p_crop_region ->> 'crop_right')::numeric
        or (zone #>> '{crop_region,crop_right}')::numeric <= (p_crop_region ->> 'crop_left')::numeric
        or (zone #>> '{crop_region,crop_top}')::numeric >= (p_crop_region ->> 'crop_bottom')::numeric
        or (zone #>> '{crop_region,crop_bottom}')::numeric <= (p_crop_region ->> 'crop_top')::numeric
$$;
comment on function captionacc._zones_beside(jsonb, jsonb) is
    'Return the zones that do not overlap a crop region: a person who approves only that region may have '
    'drawn it over a place that was found as a further zone.';
