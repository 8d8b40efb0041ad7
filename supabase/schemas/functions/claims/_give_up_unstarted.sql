create or replace function captionacc._give_up_unstarted(
    p_stage text, p_limit integer, p_before timestamptz, p_max_unstarted integer
) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    execute format(
        $sql$
        with given_up as materialized (
            select id from videos
            -- All conditions of the stage's partial index, so that the index is used.
            where %1$s_status = 'wait' and %1$s_run_id is null and deleted_at is null and %2$s
                and %1$s_requested_at < $1 and %1$s_unstarted_requests >= $2
            order by %1$s_requested_at limit $3
            for update skip locked
        )
        update videos v
        set %1$s_status = 'error',
            %1$s_error_details = _error_details(
                format('requested %%s times, but no run began: check the orchestrator''s queue and daemon',
                    v.%1$s_unstarted_requests),
                'NotStartedError', null, v.%1$s_attempts)
        from given_up where v.id = given_up.id
        $sql$,
        p_stage,
        case p_stage
            when 'layout' then 'uploaded_at is not null'
            when 'boundaries' then 'layout_status = ''done'''
            when 'text' then 'boundaries_status in (''annotate'', ''done'')'
        end)
    using p_before, p_max_unstarted, p_limit;
end
$$;
