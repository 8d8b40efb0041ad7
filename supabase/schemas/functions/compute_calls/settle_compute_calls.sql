create or replace function captionacc.settle_compute_calls(p_video_id uuid, p_run_id text) returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    update compute_calls set settled_at = clock_timestamp()
    where video_id = p_video_id and run_id = p_run_id and status = 'succeeded' and settled_at is null;
    return (
        select count(*) from compute_calls
        where video_id = p_video_id and run_id = p_run_id and settled_at is not null
    );
end
$$;
comment on function captionacc.settle_compute_calls(uuid, text) is
    'Mark a run''s calls as settled, because its results are published: the same requests are computed '
    'again from then on. Returns the number of settled calls.';
