create or replace function captionacc.removable_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400, p_status text default null
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    if p_status is not null and p_status not in ('failed', 'archived') then
        raise exception 'status % is not failed or archived', p_status using errcode = 'CA010';
    end if;
    return query
        select * from cropped_frames_versions
        where status in ('failed', 'archived') and objects_removed_at is null
            and (p_status is null or status = p_status)
            and coalesce(archived_at, failed_at) < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        order by video_id, version limit p_limit;
end
$$;
comment on function captionacc.removable_cropped_frames_versions(integer, double precision, text) is
    'Return failed and archived versions, or those of one status, that ended more than '
    'p_older_than_seconds ago and whose objects are still in the bucket.';
