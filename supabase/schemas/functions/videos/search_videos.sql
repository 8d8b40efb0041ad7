create or replace function captionacc.search_videos(
    p_text text, p_tenant_id uuid default null, p_limit integer default 100
) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
-- A plan for any tenant or none would read all tenants' rows.
set plan_cache_mode = force_custom_plan
as $$
declare
    id_start text := case when p_text ~* '^[0-9a-f-]{1,36}$' then lower(p_text) end;
    wanted text := '%' || regexp_replace(clean_name(p_text), '([\\%_])', '\\\1', 'g') || '%';
begin
    perform _check_text(p_text, 'the text');
    perform _check_claim(p_limit, 0, 1);
    return query
        select v.* from videos v
        where v.deleted_at is null and (p_tenant_id is null or v.tenant_id = p_tenant_id)
            and (v.display_path ilike wanted or (id_start is not null and starts_with(v.id::text, id_start)))
        order by v.created_at desc, v.id limit p_limit;
end
$$;
comment on function captionacc.search_videos(text, uuid, integer) is
    'Return videos that the caller may see whose name contains the text or whose id starts with it, newest first.';
