create or replace function captionacc.is_adoption_untouched(p_video_id uuid) returns boolean
language sql stable
set search_path = captionacc, pg_temp
as $$
    select exists (
        select from adoptions a join videos v on v.id = a.video_id
        where a.video_id = p_video_id and v.updated_at = a.row_updated_at and not exists (
            select from video_database_state s where s.video_id = v.id and s.server_version > 1
        )
    )
$$;
comment on function captionacc.is_adoption_untouched(uuid) is
    'Whether a video was adopted and nothing has changed in it here since: no claim, run, edit, approval or new '
    'name.';
