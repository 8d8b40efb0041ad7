create or replace function captionacc._notify_work() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- A channel's name has at most 63 bytes.
    channel text := left(tg_table_schema, 58) || '_work';
begin
    if new.deleted_at is null and new.layout_status = 'wait' and new.layout_run_id is null
        and new.uploaded_at is not null and new.layout_requested_at is null
    then
        perform pg_notify(channel, json_build_object('stage', 'layout', 'video_id', new.id)::text);
    elsif new.deleted_at is null and new.layout_status = 'done' and new.boundaries_status = 'wait'
        and new.boundaries_run_id is null and new.boundaries_requested_at is null
    then
        perform pg_notify(channel, json_build_object('stage', 'boundaries', 'video_id', new.id)::text);
    end if;
    return null;
end
$$;
comment on function captionacc._notify_work() is
    'Notify the channel <schema>_work that a stage of a video waits for a run.';
