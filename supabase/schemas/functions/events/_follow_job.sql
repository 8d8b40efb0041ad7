create or replace function captionacc._follow_job() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _record_event(new.tenant_id, new.video_id, 'job', jsonb_build_object(
        'job_id', new.id, 'video_id', new.video_id, 'type', new.type, 'state', new.state,
        'progress', new.progress, 'message', new.message, 'run_id', new.run_id));
    return null;
end
$$;
comment on function captionacc._follow_job() is 'Record a job''s beginning and its changes of state as events.';
