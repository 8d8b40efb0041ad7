create or replace function captionacc.set_age_boosting(p_video_id uuid, p_disabled boolean) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos := _locked_video(p_video_id);
begin
    update videos set disable_age_boosting = coalesce(p_disabled, false)
    where id = p_video_id and disable_age_boosting is distinct from coalesce(p_disabled, false)
    returning * into result;
    if result.id is null then
        select * into result from videos where id = p_video_id;
    end if;
    return result;
end
$$;
comment on function captionacc.set_age_boosting(uuid, boolean) is
    'Set whether a video''s runs gain no priority by waiting.';
