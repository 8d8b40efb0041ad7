create or replace function captionacc.cancel_backfill(p_backfill_id uuid) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    cancelled bigint;
begin
    update backfills set cancelled_at = coalesce(cancelled_at, clock_timestamp()) where id = p_backfill_id;
    if not found then
        raise exception 'there is no backfill %', p_backfill_id using errcode = 'CA012';
    end if;
    update backfill_videos set status = 'cancelled', finished_at = clock_timestamp()
    where backfill_id = p_backfill_id and status = 'queued';
    get diagnostics cancelled = row_count;
    return cancelled;
end
$$;
comment on function captionacc.cancel_backfill(uuid) is
    'Stop requesting runs for a backfill and return the number of videos that were still queued. Running '
    'runs continue; runs that have not started do nothing.';
