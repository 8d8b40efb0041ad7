create or replace function captionacc._job_stages(p_type text) returns text[]
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select case p_type
        when 'process' then array['layout', 'boundaries', 'text']
        when 'layout' then array['layout']
        when 'captions' then array['boundaries', 'text']
        when 'caption_text' then array['text']
        else '{}' end
$$;
comment on function captionacc._job_stages(text) is 'Return the stages that a type of job does, in their order.';
