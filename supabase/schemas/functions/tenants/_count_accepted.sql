create or replace function captionacc._count_accepted() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    -- Statement-level: a claim of many videos changes each tenant's row once.
    update tenants t set
        accepted_video_count = t.accepted_video_count + change.videos, accepted_bytes = t.accepted_bytes + change.bytes
    from (
        select o.tenant_id, sum(n.videos - o.videos) as videos, sum(n.bytes - o.bytes) as bytes
        from (
            select id, tenant_id, counts::integer as videos, counts::integer * size_bytes as bytes
            from before_statement, lateral (select accepted_at is not null and deleted_at is null as counts) c
        ) o
        join (
            select id, counts::integer as videos, counts::integer * size_bytes as bytes
            from after_statement, lateral (select accepted_at is not null and deleted_at is null as counts) c
        ) n using (id)
        where (n.videos, n.bytes) <> (o.videos, o.bytes)
        group by o.tenant_id
    ) change
    where t.id = change.tenant_id;
    return null;
end
$$;
