create or replace function captionacc._record_stage_outcomes() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    insert into stage_outcomes (tenant_id, video_id, stage, outcome, error_type, run_id, seconds)
    select new.tenant_id, new.id, s.stage, case when s.failed then 'error' else 'finished' end,
        case when s.failed then left(coalesce(s.details ->> 'error_type', ''), 100) else '' end,
        coalesce(s.old_run_id, s.details ->> 'run_id'),
        case when s.old_run_id is not null
            then greatest(extract(epoch from s.finished_at - s.started_at)::double precision, 0) end
    from (
        values
            ('layout', new.layout_status = 'error', new.layout_error_details, old.layout_error_details,
                old.layout_run_id, new.layout_started_at, new.layout_finished_at, old.layout_finished_at),
            ('boundaries', new.boundaries_status = 'error', new.boundaries_error_details,
                old.boundaries_error_details, old.boundaries_run_id, new.boundaries_started_at,
                new.boundaries_finished_at, old.boundaries_finished_at),
            ('text', new.text_status = 'error', new.text_error_details, old.text_error_details, old.text_run_id,
                new.text_started_at, new.text_finished_at, old.text_finished_at)
    ) s (stage, failed, details, old_details, old_run_id, started_at, finished_at, old_finished_at)
    -- An error counts as new when its details change, a result when its finish time changes.
    where (s.failed and s.details is distinct from s.old_details)
        or (not s.failed and s.old_run_id is not null and s.finished_at is distinct from s.old_finished_at);
    return null;
end
$$;
