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
    'What a run made of its calls is published: asking the same again computes anew. Gives how many are settled.';
