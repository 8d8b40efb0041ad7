create or replace function captionacc.mark_adoption_reported(p_video_id uuid, p_fingerprint text)
returns captionacc.adoptions
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result adoptions;
begin
    update adoptions set reported_at = coalesce(reported_at, clock_timestamp())
    where video_id = p_video_id and fingerprint = p_fingerprint
    returning * into result;
    if result.video_id is null then
        raise exception 'video % was not adopted in this state', p_video_id using errcode = 'CA002';
    end if;
    return result;
end
$$;
comment on function captionacc.mark_adoption_reported(uuid, text) is
    'Record that Dagster has an adopted video''s partition and materializations.';
