drop function captionacc.purge_jobs(double precision);

drop function captionacc.purge_events(double precision);

create or replace function captionacc.purge_events(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint;
begin
    if not coalesce(p_older_than_seconds between 3600 and 3e9, false) then
        raise exception 'events of the last hour are kept' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from events where occurred_at < before);
    end if;
    delete from events where occurred_at < before;
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_events(double precision, boolean) is
    'Delete events that are older; return their number. A dry run only counts them. A client that was away for '
    'longer reads everything again.';

create or replace function captionacc.purge_jobs(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint;
begin
    if not coalesce(p_older_than_seconds between 3600 and 3e9, false) then
        raise exception 'jobs of the last hour are kept' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from jobs where finished_at < before);
    end if;
    delete from jobs where finished_at < before;
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_jobs(double precision, boolean) is
    'Delete jobs that finished so long ago; return their number. A dry run only counts them.';

revoke execute on function captionacc.purge_events(double precision,boolean) from public;

revoke execute on function captionacc.purge_jobs(double precision,boolean) from public;
