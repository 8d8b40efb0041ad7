create or replace function captionacc._job_progress(p_type text, p_stage text, p_percent integer) returns integer
language sql immutable
set search_path = captionacc, pg_temp
as $$
    -- Where a stage begins and ends in its job: cropping and labelling take longest.
    select case p_type || ' ' || p_stage
        when 'process layout' then p_percent * 30 / 100
        when 'process boundaries' then 30 + p_percent * 50 / 100
        when 'process text' then 80 + p_percent * 20 / 100
        when 'captions boundaries' then p_percent * 70 / 100
        when 'captions text' then 70 + p_percent * 30 / 100
        else p_percent end
$$;
comment on function captionacc._job_progress(text, text, integer) is
    'Return a job''s progress, 0 to 100, from that of one of its stages.';
