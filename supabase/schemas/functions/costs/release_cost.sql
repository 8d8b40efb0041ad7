create or replace function captionacc.release_cost(p_video_id uuid, p_run_id text, p_function_name text) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    delete from cost_reservations r
    where r.video_id = p_video_id and r.function_name = p_function_name and r.run_id = p_run_id
        -- Calls that continue without the run are billed too.
        and not exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.function_name = p_function_name and c.status in ('pending', 'running')
        );
    return found;
end
$$;
comment on function captionacc.release_cost(uuid, text, text) is
    'Release a run''s reservation once its calls are charged. It stays while calls are running and if '
    'another run has replaced it.';
