create or replace function captionacc.events_after(
    p_event_id text, p_progress_since timestamptz default null, p_limit integer default 500
) returns table (event_id text, kind text, video_id uuid, payload jsonb, occurred_at timestamptz)
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    if p_event_id is null or p_event_id !~ '^\d{1,18}-\d{1,18}$' then
        raise exception 'event % is not the id of an event', left(coalesce(p_event_id, 'null'), 50)
            using errcode = 'CA010';
    end if;
    perform _check_claim(p_limit, 0, 1);
    return query
        select e.transaction_id::text || '-' || e.id::text, e.kind, e.video_id, e.payload, e.occurred_at
        from events e
        where (e.transaction_id, e.id)
                > (split_part(p_event_id, '-', 1)::xid8, split_part(p_event_id, '-', 2)::bigint)
            and e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        order by e.transaction_id, e.id limit p_limit;
    if p_progress_since is not null then
        return query
            select null, 'progress', p.video_id, to_jsonb(p) - 'tenant_id', p.updated_at
            from stage_progress p
            where p.updated_at > p_progress_since
                -- The last report of a run may be written while its stage ends: its row stays until the next change.
                and exists (select from videos v where v.id = p.video_id and p.run_id = case p.stage
                    when 'layout' then v.layout_run_id when 'boundaries' then v.boundaries_run_id
                    else v.text_run_id end)
            order by p.updated_at limit p_limit;
    end if;
end
$$;
comment on function captionacc.events_after(text, timestamptz, integer) is
    'Return the events after one, in order, that the caller may see, and then the progress of running stages '
    'that changed after p_progress_since (null: none), without ids. CA010 for what is no id.';
