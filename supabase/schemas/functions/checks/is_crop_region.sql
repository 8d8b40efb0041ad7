-- Numeric values are exact, but a value computed with binary fractions may be slightly less than 0.01.
create or replace function captionacc.is_crop_region(p_value jsonb) returns boolean
language plpgsql immutable parallel safe
set search_path = ''
as $$
declare
    side text;
    least constant numeric := 0.01 - 1e-9;
begin
    if p_value is null or jsonb_typeof(p_value) <> 'object' then
        return false;
    end if;
    if (select count(*) from jsonb_object_keys(p_value)) <> 4 then
        return false;
    end if;
    foreach side in array array['crop_left', 'crop_top', 'crop_right', 'crop_bottom'] loop
        if jsonb_typeof(p_value -> side) is distinct from 'number' then
            return false;
        end if;
    end loop;
    return (p_value ->> 'crop_left')::numeric >= 0
        and (p_value ->> 'crop_right')::numeric - (p_value ->> 'crop_left')::numeric >= least
        and (p_value ->> 'crop_right')::numeric <= 1
        and (p_value ->> 'crop_top')::numeric >= 0
        and (p_value ->> 'crop_bottom')::numeric - (p_value ->> 'crop_top')::numeric >= least
        and (p_value ->> 'crop_bottom')::numeric <= 1;
end
$$;
comment on function captionacc.is_crop_region(jsonb) is
    'Return whether the value has exactly crop_left, crop_top, crop_right and crop_bottom, as fractions '
    'of the upright frame in [0, 1], with sides of at least 0.01.';
