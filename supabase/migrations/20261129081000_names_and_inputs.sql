-- What comes in from outside: names of videos, storage keys, and files that are here already.

-- ---------------------------------------------------------------------------------------------
-- Names

create function captionacc.clean_name(p_name text) returns text
language plpgsql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
begin
    if getdatabaseencoding() = 'UTF8' then
        -- Controls, line ends and bidirectional overrides would break a line of a terminal or of a log.
        return left(regexp_replace(normalize(p_name, nfc),
            '[\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]', chr(65533), 'g'), 1024);
    end if;
    return left(regexp_replace(p_name, '[\x01-\x1f\x7f]', '?', 'g'), 1024);
end
$$;
comment on function captionacc.clean_name(text) is
    'A name as it is kept and looked up: NFC, U+FFFD for each control character, line end and bidirectional '
    'override, at most 1024 characters.';

update captionacc.videos set display_path = captionacc.clean_name(display_path)
where display_path <> captionacc.clean_name(display_path);

create function captionacc._clean_display_path() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    new.display_path := clean_name(new.display_path);
    return new;
end
$$;
create trigger videos_clean_display_path before insert or update of display_path on captionacc.videos
    for each row execute function captionacc._clean_display_path();

-- A hash index: a name may be longer than what a B-tree takes.
create index videos_by_name on captionacc.videos using hash (display_path);

create function captionacc.find_videos(p_name text, p_limit integer default 100) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    wanted text := clean_name(p_name);
    digits text := replace(lower(p_name), '-', '');
    is_start boolean := lower(p_name) ~ '^[0-9a-f-]+$' and length(digits) between 1 and 32;
begin
    perform _check_claim(p_limit, 0, 1);
    -- Two indexes are asked, each for what it can tell.
    return query
        select v.* from videos v
        where v.deleted_at is null and v.id in (
            select n.id from videos n where n.display_path = wanted and n.deleted_at is null
            union
            select s.id from videos s
            where is_start and s.deleted_at is null and starts_with(s.id::text, lower(p_name))
                and s.id between case when is_start then rpad(digits, 32, '0')::uuid end
                    and case when is_start then rpad(digits, 32, 'f')::uuid end
        )
        order by v.created_at desc, v.id limit p_limit;
end
$$;
comment on function captionacc.find_videos(text, integer) is
    'Videos of this name, or whose id starts with it; newest first, deleted ones left out.';

create function captionacc.rename_video(p_video_id uuid, p_name text) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    if btrim(coalesce(p_name, '')) = '' then
        raise exception 'a video''s name is not empty' using errcode = 'CA010';
    elsif length(p_name) > 1024 then
        raise exception 'a name of % characters is too long', length(p_name)
            using errcode = 'CA010', hint = 'Give at most 1024.';
    elsif clean_name(p_name) = video.display_path then
        return video;
    end if;
    update videos set display_path = p_name where id = p_video_id returning * into result;
    perform _audit('rename_video', 'allowed', '', p_video_id,
        jsonb_build_object('from', video.display_path, 'to', result.display_path));
    return result;
end
$$;
comment on function captionacc.rename_video(uuid, text) is
    'Change the name that people see, as clean_name has it; nothing else derives from it. Audited. CA007, CA010.';

-- ---------------------------------------------------------------------------------------------
-- Storage keys

create function captionacc.is_storage_key(p_key text, p_tenant_id uuid) returns boolean
language sql immutable parallel safe
set search_path = captionacc, pg_temp
as $$
    select coalesce(
        starts_with(p_key, p_tenant_id::text || '/')
        and octet_length(p_key) <= 900
        and p_key !~ '(^|/)\.{0,2}(/|$)'
        and p_key !~ '[\\\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]',
        false)
$$;
comment on function captionacc.is_storage_key(text, uuid) is
    'An object key in the tenant''s prefix: at most 900 bytes, without an empty, ''.'' or ''..'' part, backslash, '
    'control character, line end or bidirectional override.';

create function captionacc._check_storage_key(p_key text, p_tenant_id uuid) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if not is_storage_key(p_key, p_tenant_id) then
        raise exception 'storage key % is not a key inside the tenant''s prefix %/',
            coalesce(quote_literal(left(clean_name(p_key), 200)), 'null'), p_tenant_id
            using errcode = 'CA010', hint = 'Give one such as client/videos/ID/video.mp4 in it, of at most 900 bytes.';
    end if;
end
$$;

create function captionacc._check_new_storage_key() returns trigger
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_storage_key(new.storage_key, new.tenant_id);
    return new;
end
$$;
-- Triggers, not constraints: a row from before the rule must still be able to end, be deleted and be removed.
create trigger videos_check_storage_key before insert or update of storage_key, tenant_id on captionacc.videos
    for each row execute function captionacc._check_new_storage_key();
create trigger caption_frame_extents_inference_runs_check_storage_key
    before insert or update of storage_key, tenant_id on captionacc.caption_frame_extents_inference_runs
    for each row execute function captionacc._check_new_storage_key();

-- ---------------------------------------------------------------------------------------------
-- Files that are here already

alter table captionacc.videos
    add column content_sha256 text check (content_sha256 ~ '^[0-9a-f]{64}$');
comment on column captionacc.videos.content_sha256 is
    'SHA-256 of the file, in lower-case hexadecimal digits; null where the uploader did not give it.';
create index videos_by_content on captionacc.videos (tenant_id, content_sha256)
    where content_sha256 is not null and deleted_at is null;

create function captionacc._check_sha256(p_sha256 text) returns void
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
begin
    if p_sha256 is null or p_sha256 !~ '^[0-9a-f]{64}$' then
        raise exception '% is not a SHA-256 in hexadecimal digits', coalesce(quote_literal(left(p_sha256, 80)), 'null')
            using errcode = 'CA010';
    end if;
end
$$;

create function captionacc.find_content(p_tenant_id uuid, p_sha256 text) returns setof captionacc.videos
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
begin
    perform _check_sha256(p_sha256);
    return query
        select * from videos
        where tenant_id = p_tenant_id and content_sha256 = p_sha256 and deleted_at is null
        -- One that went well before one that failed.
        order by 'error' in (layout_status, boundaries_status, text_status), created_at desc, id
        limit 1;
end
$$;
comment on function captionacc.find_content(uuid, text) is
    'The tenant''s video of this very file: one that has not failed, then the newest; no row when there is none.';

drop function captionacc.register_video(uuid, uuid, text, bigint, text, boolean, uuid);
create function captionacc.register_video(
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
        -- Of two uploads of one file that end at the same moment, the second one sees the first.
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

    -- The same upload again: nothing changes but that its object may be whole now.
    select * into result from videos where id = p_video_id for update;
    if result.id is null or result.tenant_id <> p_tenant_id or result.storage_key <> p_storage_key then
        raise exception 'video % or its storage key % is registered with other facts', p_video_id, p_storage_key
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
comment on function captionacc.register_video(uuid, uuid, text, bigint, text, boolean, uuid, text, boolean) is
    'Tell the catalogue of an upload; repeating it is harmless. Not yet uploaded videos are not claimed. With a '
    'content hash that another video of the tenant has, that other row is the answer and none is made, unless p_again.';

-- ---------------------------------------------------------------------------------------------
-- Deletion, now audited

create or replace function captionacc.soft_delete_video(p_video_id uuid) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos;
    result videos;
begin
    select * into video from videos where id = p_video_id for update;
    if video.id is null then
        raise exception 'video % is not in the catalogue', p_video_id using errcode = 'CA001';
    elsif video.deleted_at is not null then
        return video;
    end if;
    -- Whoever works on it is to stop: nobody wants the result, and a GPU costs.
    insert into run_cancellations (run_id, tenant_id, video_id, stage, requested_by)
    select owner, video.tenant_id, video.id, stage, 'the video''s deletion'
    from (values (video.layout_run_id, 'layout'), (video.boundaries_run_id, 'boundaries'),
        (video.text_run_id, 'text')) work (owner, stage)
    where owner is not null
    on conflict (run_id) do nothing;
    update videos
    set deleted_at = clock_timestamp(), layout_run_id = null, boundaries_run_id = null, text_run_id = null
    where id = p_video_id
    returning * into result;
    perform _audit('delete_video', 'allowed', '', p_video_id, jsonb_build_object('name', video.display_path));
    return result;
end
$$;
comment on function captionacc.soft_delete_video(uuid) is
    'Take a video out of all processing; a run that works on it is refused when it finishes, and is to be ended. '
    'Audited.';

revoke execute on all functions in schema captionacc from public;
