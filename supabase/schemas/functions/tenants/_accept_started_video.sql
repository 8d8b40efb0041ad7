create or replace function captionacc._accept_started_video() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- A run without a claim, such as one started by hand, uses the quota too.
    new.accepted_at := coalesce(new.accepted_at, clock_timestamp());
    return new;
end
$$;
