-- Crop regions have a smallest size: a hundredth of the frame a side, as in the contract of compute calls.

-- A numeric value is exact, but what a program made of binary fractions may be a bit less.
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
    'Exactly crop_left, crop_top, crop_right, crop_bottom: fractions of the upright frame in [0, 1], at least '
    '0.01 a side.';

create or replace function captionacc._check_crop_region(p_crop_region jsonb) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_crop_region(p_crop_region) then
        raise exception 'crop region % is not usable', coalesce(p_crop_region::text, 'null')
            using errcode = 'CA003',
                hint = 'Give crop_left < crop_right and crop_top < crop_bottom, all in [0, 1], '
                    'at least 0.01 apart.';
    end if;
end
$$;

-- Regions from before the rule grow around their middle, so that their rows can still be read and written.
create function captionacc._wide_enough(p_region jsonb) returns jsonb
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    region jsonb := p_region;
    sides text[];
    low numeric;
    high numeric;
begin
    foreach sides slice 1 in array array[['crop_left', 'crop_right'], ['crop_top', 'crop_bottom']] loop
        low := (region ->> sides[1])::numeric;
        high := (region ->> sides[2])::numeric;
        if high - low < 0.01 then
            low := least(greatest((low + high - 0.01) / 2, 0), 0.99);
            region := region || jsonb_build_object(sides[1], low, sides[2], low + 0.01);
        end if;
    end loop;
    return region;
end
$$;

update captionacc.videos set
    crop_region = captionacc._wide_enough(crop_region::jsonb)::captionacc.crop_region,
    proposed_crop_region = captionacc._wide_enough(proposed_crop_region::jsonb)::captionacc.crop_region
where not captionacc.is_crop_region(crop_region::jsonb) and crop_region is not null
    or not captionacc.is_crop_region(proposed_crop_region::jsonb) and proposed_crop_region is not null;

drop function captionacc._wide_enough(jsonb);
