create or replace function captionacc._follow_video() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if tg_op = 'UPDATE' then
        delete from stage_progress p
        where p.video_id = new.id and p.run_id is distinct from case p.stage
            when 'layout' then new.layout_run_id when 'boundaries' then new.boundaries_run_id
            else new.text_run_id end;
        perform _advance_jobs(new);
    end if;
    perform _record_event(new.tenant_id, new.id, 'video', jsonb_build_object(
        'video_id', new.id, 'name', new.display_path,
        'uploaded', new.uploaded_at is not null, 'deleted', new.deleted_at is not null,
        'layout', jsonb_build_object('status', new.layout_status, 'run_id', new.layout_run_id),
        'boundaries', jsonb_build_object('status', new.boundaries_status, 'run_id', new.boundaries_run_id),
        'text', jsonb_build_object('status', new.text_status, 'run_id', new.text_run_id)));
    return null;
end
$$;
comment on function captionacc._follow_video() is
    'Record a video''s change as an event, advance its jobs, and remove the progress of runs that ended.';
