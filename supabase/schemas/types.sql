create domain captionacc.crop_region as jsonb
    constraint crop_region_valid check (value is null or captionacc.is_crop_region(value));
