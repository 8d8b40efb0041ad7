create or replace function captionacc.set_tier_cost_limits(
    p_tier text, p_video_usd numeric default null, p_month_usd numeric default null
) returns captionacc.access_tiers
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result access_tiers;
begin
    update access_tiers set video_cost_limit_usd = p_video_usd, month_cost_limit_usd = p_month_usd
    where id = p_tier returning * into result;
    if result.id is null then
        raise exception 'tier % does not exist', coalesce(p_tier, 'null') using errcode = 'CA010';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tier_cost_limits(text, numeric, numeric) is
    'Set a tier''s cost limits for a video and for a month. Null: the installation''s limit; infinity: no '
    'limit.';
