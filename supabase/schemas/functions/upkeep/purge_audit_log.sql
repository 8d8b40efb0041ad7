create or replace function captionacc.purge_audit_log(p_older_than_seconds double precision, p_dry_run boolean default false)
returns bigint
language plpgsql security definer
set search_path = captionacc, pg_temp
as $$
declare
    before timestamptz;
    removed bigint;
begin
    -- A holder of the service key must not be able to erase their own recent actions.
    if not coalesce(p_older_than_seconds between 2592000 and 3e9, false) then
        raise exception 'the audit log of the last 30 days is not purged' using errcode = 'CA010';
    end if;
    before := clock_timestamp() - make_interval(secs => p_older_than_seconds);
    if p_dry_run then
        return (select count(*) from security_audit_log where occurred_at < before);
    end if;
    delete from security_audit_log where occurred_at < before;
    get diagnostics removed = row_count;
    return removed;
end
$$;
comment on function captionacc.purge_audit_log(double precision, boolean) is
    'Delete old rows of the audit log; a dry run only counts them. The last 30 days always stay.';
