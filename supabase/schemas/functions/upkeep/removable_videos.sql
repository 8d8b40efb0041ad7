create or replace function captionacc.removable_videos(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select * from videos
        where deleted_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and objects_removed_at is null
        order by deleted_at limit p_limit;
end
$$;
comment on function captionacc.removable_videos(integer, double precision) is
    'Return videos deleted more than p_older_than_seconds ago whose objects are still in the bucket.';
