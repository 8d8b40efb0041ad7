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
