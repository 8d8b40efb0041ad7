create or replace function captionacc._check_owner(p_video captionacc.videos, p_stage text, p_run_id text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    owner text := to_jsonb(p_video) ->> (p_stage || '_run_id');
begin
    if owner is distinct from p_run_id or p_run_id is null then
        raise exception 'run % does not work on the % stage of video %: %', coalesce(p_run_id, 'null'), p_stage,
            p_video.id, case when owner is null then 'no run does' else 'run ' || owner || ' does' end
            using errcode = 'CA002';
    end if;
end
$$;
comment on function captionacc._check_owner(captionacc.videos, text, text) is
    'Refuse (CA002) a run that was displaced or has ended: it may not write results.';
