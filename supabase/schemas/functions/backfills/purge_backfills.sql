create or replace function captionacc.purge_backfills(
    p_older_than_seconds double precision default 7776000, p_dry_run boolean default false
) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    old uuid[];
begin
    perform _check_claim(1, p_older_than_seconds, 1);
    select coalesce(array_agg(f.id), '{}') into old from backfills f
    where f.created_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
        and not exists (select from backfill_videos b where b.backfill_id = f.id and b.status = 'queued');
    if not p_dry_run then
        delete from backfills where id = any (old);
    end if;
    return cardinality(old);
end
$$;
comment on function captionacc.purge_backfills(double precision, boolean) is
    'Delete finished backfills requested more than p_older_than_seconds ago; a dry run only counts them.';
