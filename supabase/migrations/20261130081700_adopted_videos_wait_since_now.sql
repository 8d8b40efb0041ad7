create or replace function captionacc.adopt_video(
    p_tenant_id uuid,
    p_video_id uuid,
    p_fingerprint text,
    p_storage_key text,
    p_size_bytes bigint,
    p_display_path text,
    p_partition_key text,
    p_uploaded_at timestamptz default null,
    p_uploaded_by_user_id uuid default null,
    p_is_demo boolean default false,
    p_duration_seconds double precision default null,
    p_width integer default null,
    p_height integer default null,
    p_frame_count bigint default null,
    p_full_frame_count integer default null,
    p_ocr_box_count integer default null,
    p_layout_status text default 'wait',
    p_layout_note text default '',
    p_proposed_crop_region jsonb default null,
    p_crop_region jsonb default null,
    p_approved_by text default null,
    p_approved_at timestamptz default null,
    p_has_layout_db boolean default false,
    p_boundaries_status text default 'wait',
    p_version jsonb default null,
    p_caption_count integer default null,
    p_has_captions_db boolean default false,
    p_text_status text default 'wait',
    p_text_caption_count integer default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    former adoptions;
    former_key text;
    moment timestamptz := coalesce(p_uploaded_at, clock_timestamp());
    -- A video that waits for its first run waits since now: its age is one of this platform.
    since timestamptz := case when p_layout_status = 'wait' then clock_timestamp() else moment end;
    result videos;
begin
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    perform _check_sha256(p_fingerprint);
    perform _check_text(p_display_path, 'the display path');
    perform _check_storage_key(p_storage_key, p_tenant_id);
    if p_crop_region is not null then
        perform _check_crop_region(p_crop_region);
        perform _check_text(p_approved_by, 'who approves');
    end if;
    if p_boundaries_status in ('annotate', 'done') and (p_layout_status <> 'done' or p_version is null)
        or p_text_status in ('annotate', 'done') and p_boundaries_status not in ('annotate', 'done')
    then
        raise exception 'video % cannot be adopted in the states %, %, %', p_video_id, p_layout_status,
            p_boundaries_status, p_text_status using errcode = 'CA010';
    end if;

    if exists (select from videos where id = p_video_id) then
        result := _locked_video(p_video_id);
        select * into former from adoptions where video_id = p_video_id;
        if former.video_id is null or result.tenant_id <> p_tenant_id then
            raise exception 'video % is already registered, and was not adopted', p_video_id
                using errcode = 'CA008';
        elsif former.fingerprint = p_fingerprint then
            return result;
        elsif not is_adoption_untouched(p_video_id) then
            raise exception 'video % has changed here since it was adopted', p_video_id using errcode = 'CA002';
        end if;
        former_key := result.partition_key;
        delete from videos where id = p_video_id;
    end if;

    insert into videos (id, tenant_id, display_path, storage_key, size_bytes, uploaded_by_user_id, uploaded_at,
        created_at, partition_key, is_demo)
    values (p_video_id, p_tenant_id, p_display_path, p_storage_key, p_size_bytes, p_uploaded_by_user_id, since,
        moment, coalesce(former_key, p_partition_key), coalesce(p_is_demo, false));
    if p_version is not null then
        perform _adopt_version(p_tenant_id, p_video_id, p_crop_region, p_version);
    end if;
    insert into video_database_state (video_id, database_name, tenant_id, server_version)
    select p_video_id, d.name, p_tenant_id, 1
    from (values ('layout', p_has_layout_db), ('captions', p_has_captions_db)) d (name, is_there)
    where d.is_there;
    update videos set
        duration_seconds = p_duration_seconds, width = p_width, height = p_height,
        -- The predecessor does not keep it; the next run over the file does.
        video_codec = case when p_duration_seconds is not null then 'unknown' end,
        frame_count = p_frame_count, full_frame_count = p_full_frame_count, ocr_box_count = p_ocr_box_count,
        layout_status = p_layout_status, layout_note = coalesce(p_layout_note, ''),
        layout_found = case when p_layout_status <> 'wait' then p_proposed_crop_region is not null end,
        proposed_crop_region = p_proposed_crop_region::crop_region,
        crop_region = p_crop_region::crop_region,
        crop_region_version = case when p_crop_region is null then 0 else 1 end,
        layout_approved_at = case when p_crop_region is not null then coalesce(p_approved_at, moment) end,
        layout_approved_by = case when p_crop_region is not null then p_approved_by end,
        layout_tries = (p_layout_status <> 'wait')::integer,
        layout_started_at = case when p_layout_status <> 'wait' then clock_timestamp() end,
        layout_finished_at = case when p_layout_status <> 'wait' then clock_timestamp() end,
        boundaries_status = p_boundaries_status, caption_count = p_caption_count,
        current_cropped_frames_version = (p_version ->> 'version')::integer,
        boundaries_tries = (p_boundaries_status <> 'wait')::integer,
        boundaries_started_at = case when p_boundaries_status <> 'wait' then clock_timestamp() end,
        -- Boundaries that wait do so since now too, however long ago the layout was approved.
        boundaries_finished_at = case when p_layout_status = 'done' then clock_timestamp() end,
        text_status = p_text_status, text_caption_count = p_text_caption_count,
        text_tries = (p_text_status <> 'wait')::integer,
        text_started_at = case when p_text_status <> 'wait' then clock_timestamp() end,
        text_finished_at = case when p_text_status <> 'wait' then clock_timestamp() end,
        -- It passed the predecessor's quotas on that day.
        accepted_at = moment
    where id = p_video_id
    returning * into result;
    insert into adoptions (video_id, tenant_id, fingerprint, row_updated_at)
    values (p_video_id, p_tenant_id, p_fingerprint, result.updated_at);
    return result;
end
$$;
comment on function captionacc.adopt_video(
    uuid, uuid, text, text, bigint, text, text, timestamptz, uuid, boolean, double precision, integer, integer,
    bigint, integer, integer, text, text, jsonb, jsonb, text, timestamptz, boolean, text, jsonb, integer,
    boolean, text, integer
) is
    'Register a video of the predecessor whose files are in the bucket, in the states that they allow. A stage '
    'in wait is made by a run. With the same fingerprint nothing changes; with another one the video is '
    'registered again, unless it has changed here since (CA002). CA008 if it was registered otherwise.';
