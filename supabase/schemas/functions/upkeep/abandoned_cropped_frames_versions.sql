create or replace function captionacc.abandoned_cropped_frames_versions(
    p_limit integer default 50, p_older_than_seconds double precision default 86400
) returns setof captionacc.cropped_frames_versions
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_claim(p_limit, p_older_than_seconds, 1);
    return query
        select c.* from cropped_frames_versions c join videos v on v.id = c.video_id
        where c.status = 'processing'
            and c.created_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
            and v.boundaries_run_id is distinct from c.run_id
            and not exists (
                select from compute_calls o
                where o.video_id = c.video_id and o.cropped_frames_version = c.version
                    and o.status in ('pending', 'running')
            )
        order by c.created_at limit p_limit;
end
$$;
comment on function captionacc.abandoned_cropped_frames_versions(integer, double precision) is
    'Return unfinished versions allotted more than p_older_than_seconds ago, without a working run or an '
    'open call. fail_cropped_frames_version ends them.';
