create or replace function captionacc._calls_left(p_outcome text) returns bigint
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    caller uuid := coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
    an_hour bigint := case p_outcome when 'refused' then 60 else 600 end;
    a_day bigint := case p_outcome when 'refused' then 300 else 14400 end;
    now timestamptz := clock_timestamp();
    in_hour bigint;
    in_day bigint;
begin
    -- Serializes the calls of one user, so that concurrent calls do not all see the same number.
    perform pg_advisory_xact_lock(hashtextextended('calls of ' || caller, 0));
    select count(*) filter (where occurred_at > now - interval '1 hour'), count(*) into in_hour, in_day
    from (
        select occurred_at from security_audit_log
        where coalesce(user_id, '00000000-0000-0000-0000-000000000000') = caller and outcome = p_outcome
            and occurred_at > now - interval '1 day'
        order by occurred_at desc limit a_day
    ) lately;
    return least(an_hour - in_hour, a_day - in_day);
end
$$;
comment on function captionacc._calls_left(text) is
    'Return how many more calls of the request''s user may be refused, or allowed, at this time.';
