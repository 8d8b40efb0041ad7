create or replace function captionacc.announce_captions(p_video_id uuid, p_stage text, p_run_id text)
returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    owner text;
    tenant uuid;
begin
    perform _check_stage(p_stage);
    -- Not locked: nothing depends on it.
    select case p_stage when 'layout' then v.layout_run_id when 'boundaries' then v.boundaries_run_id
        else v.text_run_id end, v.tenant_id into owner, tenant
    from videos v where v.id = p_video_id and v.deleted_at is null;
    if owner is null or owner is distinct from p_run_id then
        return false;
    end if;
    perform _record_event(tenant, p_video_id, 'captions', jsonb_build_object(
        'video_id', p_video_id, 'partial', true,
        'version', coalesce((
            select s.server_version from video_database_state s
            where s.video_id = p_video_id and s.database_name = 'captions'), 0)));
    return true;
end
$$;
comment on function captionacc.announce_captions(uuid, text, text) is
    'Record as an event that captions, or texts, of the run that works on the stage can be read before it has '
    'ended. Returns false, and records nothing, for another run.';
