create or replace function captionacc._request_stage(p_video_id uuid, p_stage text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    execute format(
        $sql$
        update videos set
            %1$s_status = 'wait', %1$s_error_details = null, %1$s_requested_at = null,
            %1$s_unstarted_requests = 0, %1$s_note = ''
        where id = $1 and %1$s_status <> 'wait' returning *
        $sql$, p_stage)
    into result using p_video_id;
    if result.id is null then
        select * into result from videos where id = p_video_id;
    end if;
    return result;
end
$$;
comment on function captionacc._request_stage(uuid, text) is
    'Let a stage that nothing works on wait for a run, whatever its status is.';
