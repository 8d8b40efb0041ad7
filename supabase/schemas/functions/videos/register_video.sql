create or replace function captionacc.register_video(
    p_tenant_id uuid,
    p_video_id uuid,
    p_storage_key text,
    p_size_bytes bigint,
    p_display_path text,
    p_uploaded boolean default true,
    p_uploaded_by_user_id uuid default null,
    p_content_sha256 text default null,
    p_again boolean default false
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result videos;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    perform _check_text(p_display_path, 'the display path');
    if length(p_display_path) > 1024 then
        raise exception 'a display path of % characters is too long', length(p_display_path)
            using errcode = 'CA010', hint = 'Give at most 1024.';
    end if;
    if p_size_bytes is null or p_size_bytes < 0 then
        raise exception 'size % is not a number of bytes', p_size_bytes using errcode = 'CA010';
    end if;
    perform _check_storage_key(p_storage_key, p_tenant_id);
    if p_content_sha256 is not null then
        perform _check_sha256(p_content_sha256);
        -- Of two concurrent registrations of one file, the second one sees the first.
        perform pg_advisory_xact_lock(hashtextextended(p_tenant_id::text || p_content_sha256, 0));
        if not coalesce(p_again, false) then
            select * into result from find_content(p_tenant_id, p_content_sha256);
            if result.id is not null and not exists (select from videos where id = p_video_id) then
                return result;
            end if;
        end if;
    end if;
    insert into videos (id, tenant_id, display_path, storage_key, size_bytes, uploaded_by_user_id, uploaded_at,
        content_sha256)
    values (p_video_id, p_tenant_id, p_display_path, p_storage_key, p_size_bytes, p_uploaded_by_user_id,
        case when p_uploaded then clock_timestamp() end, p_content_sha256)
    on conflict do nothing
    returning * into result;
    if result.id is not null then
        return result;
    end if;

    -- Repeated registration: only uploaded_at can change, once the object is complete.
    select * into result from videos where id = p_video_id for update;
    if result.id is null or result.tenant_id <> p_tenant_id or result.storage_key <> p_storage_key then
        raise exception 'video % or its storage key % is already registered with other values', p_video_id, p_storage_key
            using errcode = 'CA008';
    end if;
    result := _locked_video(p_video_id);
    if p_uploaded and result.uploaded_at is null then
        update videos set uploaded_at = clock_timestamp(), size_bytes = p_size_bytes,
            content_sha256 = coalesce(p_content_sha256, content_sha256)
        where id = p_video_id returning * into result;
    end if;
    return result;
end
$$;
comment on function captionacc.register_video(
    uuid, uuid, text, bigint, text, boolean, uuid, text, boolean
) is
    'Register an upload; repeating the call is harmless. A video is claimed only once it is uploaded. If '
    'another video of the tenant has the same content hash, that video''s row is returned and none is '
    'created, unless p_again is set.';
