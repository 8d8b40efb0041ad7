create or replace function captionacc._locked_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    found captionacc.videos;
begin
    select * into found from videos where id = p_video_id for update;
    if found.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    end if;
    if found.deleted_at is not null then
        raise exception 'video % was deleted on %', p_video_id, date_trunc('second', found.deleted_at)
            using errcode = 'CA007';
    end if;
    return found;
end
$$;
comment on function captionacc._locked_video(uuid) is
    'Return the video''s row, locked until the end of the transaction. CA001, CA007.';
