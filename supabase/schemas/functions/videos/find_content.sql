create or replace function captionacc.find_content(p_tenant_id uuid, p_sha256 text) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_sha256(p_sha256);
    return query
        select * from videos
        where tenant_id = p_tenant_id and content_sha256 = p_sha256 and deleted_at is null
        -- Successful videos before failed ones.
        order by 'error' in (layout_status, boundaries_status, text_status), created_at desc, id
        limit 1;
end
$$;
comment on function captionacc.find_content(uuid, text) is
    'Return the tenant''s video with this content: preferably one that has not failed, then the newest. No '
    'row if there is none.';
