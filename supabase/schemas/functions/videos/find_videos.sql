create or replace function captionacc.find_videos(p_name text, p_limit integer default 100) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    wanted text := clean_name(p_name);
    digits text := replace(lower(p_name), '-', '');
    is_start boolean := lower(p_name) ~ '^[0-9a-f-]+$' and length(digits) between 1 and 32;
begin
    perform _check_claim(p_limit, 0, 1);
    -- Two subqueries, each with an index of its own.
    return query
        select v.* from videos v
        where v.deleted_at is null and v.id in (
            select n.id from videos n where n.display_path = wanted and n.deleted_at is null
            union
            select s.id from videos s
            where is_start and s.deleted_at is null and starts_with(s.id::text, lower(p_name))
                and s.id between case when is_start then rpad(digits, 32, '0')::uuid end
                    and case when is_start then rpad(digits, 32, 'f')::uuid end
        )
        order by v.created_at desc, v.id limit p_limit;
end
$$;
comment on function captionacc.find_videos(text, integer) is
    'Return videos with this name or with an id that starts with it, newest first, without deleted ones.';
