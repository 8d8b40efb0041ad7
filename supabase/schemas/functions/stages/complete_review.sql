create or replace function captionacc.complete_review(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    state jsonb;
    result videos;
begin
    if p_stage is null or p_stage not in ('boundaries', 'text') then
        raise exception 'stage % is not boundaries or text', coalesce(p_stage, 'null')
            using errcode = 'CA010', hint = 'A layout is reviewed by approving it.';
    end if;
    video := _locked_video(p_video_id);
    state := to_jsonb(video);
    if state ->> (p_stage || '_status') = 'done' then
        return video;
    end if;
    if state ->> (p_stage || '_status') <> 'annotate' or state ->> (p_stage || '_run_id') is not null then
        raise exception 'the % stage of video % is in state %, %', p_stage, p_video_id,
            state ->> (p_stage || '_status'),
            coalesce('run ' || (state ->> (p_stage || '_run_id')) || ' works on it', 'so there is nothing to review')
            using errcode = 'CA002';
    end if;
    execute format('update videos set %1$s_status = ''done'' where id = $1 returning *', p_stage)
    into result using p_video_id;
    return result;
end
$$;
comment on function captionacc.complete_review(uuid, text) is
    'Record that a person has reviewed the captions: annotate to done.';
