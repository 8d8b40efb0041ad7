drop view captionacc.demo_cropped_frames_versions;

drop view captionacc.demo_videos;

drop function captionacc.app_approve_layout(uuid,jsonb,boolean);

drop function captionacc.finish_layout(uuid,text,double precision,integer,integer,text,bigint,boolean,double precision,jsonb,text,bigint,integer,integer,integer,text);

drop function captionacc.approve_layout(uuid,text,jsonb);

drop function captionacc._approve_layout(uuid,text,jsonb);

drop function captionacc.allot_cropped_frames_version(uuid,text,jsonb);

alter table captionacc.videos add column proposed_caption_zones jsonb default '[]'::jsonb not null;

alter table captionacc.videos add column caption_zones jsonb default '[]'::jsonb not null;

alter table captionacc.cropped_frames_versions add column caption_zones jsonb default '[]'::jsonb not null;

create or replace function captionacc.is_caption_zones(p_value jsonb) returns boolean
language plpgsql immutable parallel safe
set search_path = ''
as $$
declare
    zone jsonb;
    before integer := 0;
begin
    if p_value is null or jsonb_typeof(p_value) <> 'array' then
        return false;
    end if;
    for zone in select value from jsonb_array_elements(p_value) loop
        if jsonb_typeof(zone) <> 'object'
            or (select count(*) from jsonb_object_keys(zone)) <> 3
            or jsonb_typeof(zone -> 'zone_index') is distinct from 'number'
            or (zone ->> 'zone_index') !~ '^[1-7]$'
            or (zone ->> 'zone_index')::integer <= before
            or not captionacc.is_crop_region(zone -> 'crop_region')
            or not zone ? 'language'
            or jsonb_typeof(zone -> 'language') not in ('null', 'string')
            or length(zone ->> 'language') > 35
            or (zone ->> 'language') !~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$'
        then
            return false;
        end if;
        before := (zone ->> 'zone_index')::integer;
    end loop;
    return true;
end
$$;
comment on function captionacc.is_caption_zones(jsonb) is
    'Return whether the value is a list of zone_index (1 to 7, ascending), crop_region and language '
    '(BCP 47, or null).';

create or replace function captionacc._checked_zones(p_caption_zones jsonb) returns jsonb
language plpgsql immutable
set search_path = captionacc, pg_temp
as $$
declare
    zones jsonb;
begin
    -- A client may leave out the language, and order the zones as it likes.
    if jsonb_typeof(p_caption_zones) = 'array' then
        select coalesce(jsonb_agg(
            case when jsonb_typeof(zone) = 'object' then '{"language": null}'::jsonb || zone else zone end
            order by zone -> 'zone_index'), '[]')
        into zones from jsonb_array_elements(p_caption_zones) as zone;
    end if;
    if zones is null or not is_caption_zones(zones) then
        raise exception 'caption zones % are not usable', coalesce(p_caption_zones::text, 'null')
            using errcode = 'CA003',
                hint = 'Give each zone a zone_index from 1 to 7 of its own, a crop_region, and a language or null.';
    end if;
    return zones;
end
$$;
comment on function captionacc._checked_zones(jsonb) is
    'Return the further caption zones in order and complete. CA003 if they are not usable.';

create or replace function captionacc._zones_beside(p_caption_zones jsonb, p_crop_region jsonb) returns jsonb
language sql immutable
set search_path = captionacc, pg_temp
as $$
    select coalesce(jsonb_agg(zone order by zone -> 'zone_index'), '[]')
    from jsonb_array_elements(p_caption_zones) as zone
    where (zone #>> '{crop_region,crop_left}')::numeric >= (p_crop_region ->> 'crop_right')::numeric
        or (zone #>> '{crop_region,crop_right}')::numeric <= (p_crop_region ->> 'crop_left')::numeric
        or (zone #>> '{crop_region,crop_top}')::numeric >= (p_crop_region ->> 'crop_bottom')::numeric
        or (zone #>> '{crop_region,crop_bottom}')::numeric <= (p_crop_region ->> 'crop_top')::numeric
$$;
comment on function captionacc._zones_beside(jsonb, jsonb) is
    'Return the zones that do not overlap a crop region: a person who approves only that region may have '
    'drawn it over a place that was found as a further zone.';

create or replace function captionacc.allot_cropped_frames_version(
    p_video_id uuid, p_run_id text, p_crop_region jsonb, p_caption_zones jsonb default '[]'
)
returns integer
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    allotted integer;
    zones jsonb := _checked_zones(p_caption_zones);
begin
    perform _check_owner(video, 'boundaries', p_run_id);
    perform _check_crop_region(p_crop_region);
    if p_crop_region is distinct from video.crop_region::jsonb then
        raise exception 'crop region % of video % is not the approved one, %', p_crop_region, p_video_id,
            video.crop_region using errcode = 'CA002';
    end if;
    if zones <> video.caption_zones then
        raise exception 'caption zones % of video % are not the approved ones, %', zones, p_video_id,
            video.caption_zones using errcode = 'CA002';
    end if;
    update cropped_frames_versions v set run_id = p_run_id
    where v.video_id = p_video_id and v.status = 'processing'
        and v.crop_region_version = video.crop_region_version and v.crop_region::jsonb = p_crop_region
        and v.caption_zones = zones
        and exists (
            select from compute_calls c
            where c.video_id = p_video_id and c.cropped_frames_version = v.version
                and c.function_name = 'crop_and_infer_caption_frame_extents'
                and (c.status in ('pending', 'running') or (c.status = 'succeeded' and c.settled_at is null))
        )
    returning v.version into allotted;
    if allotted is not null then
        return allotted;
    end if;
    update cropped_frames_versions
    set status = 'failed', failed_at = clock_timestamp(),
        error_message = 'left unfinished; run ' || p_run_id || ' started over'
    where video_id = p_video_id and status = 'processing';
    select coalesce(max(version), 0) + 1 into allotted from cropped_frames_versions where video_id = p_video_id;
    insert into cropped_frames_versions
        (video_id, version, tenant_id, run_id, crop_region, crop_region_version, caption_zones)
    values (p_video_id, allotted, video.tenant_id, p_run_id, p_crop_region::crop_region,
        video.crop_region_version, zones);
    return allotted;
end
$$;
comment on function captionacc.allot_cropped_frames_version(uuid, text, jsonb, jsonb) is
    'Return a version number for the run that works on the boundaries: the unfinished version of an '
    'earlier attempt at the same zones, if calls for it are running or have unsettled results; '
    'otherwise a number that was never used. Other unfinished versions are marked as failed.';

create or replace function captionacc._approve_layout(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb, p_caption_zones jsonb
)
returns captionacc.videos
language sql
set search_path = captionacc, pg_temp
as $$
    update videos set
        layout_status = 'done', layout_error_details = null,
        layout_approved_at = clock_timestamp(), layout_approved_by = p_approved_by,
        crop_region = p_crop_region::crop_region, caption_zones = p_caption_zones,
        crop_region_version = crop_region_version + 1,
        boundaries_status = 'wait', boundaries_error_details = null, boundaries_run_id = null,
        boundaries_requested_at = null, boundaries_unstarted_requests = 0, boundaries_note = '',
        text_status = 'wait', text_error_details = null, text_run_id = null,
        text_requested_at = null, text_unstarted_requests = 0, text_note = ''
    where id = p_video_id
    returning *
$$;

create or replace function captionacc.approve_layout(
    p_video_id uuid, p_approved_by text, p_crop_region jsonb default null, p_caption_zones jsonb default null
)
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    region jsonb := coalesce(p_crop_region, video.proposed_crop_region);
    zones jsonb;
begin
    perform _check_text(p_approved_by, 'who approves');
    if video.layout_status not in ('annotate', 'done') then
        raise exception 'the layout of video % cannot be approved in state %', p_video_id, video.layout_status
            using errcode = 'CA002';
    end if;
    if region is null then
        raise exception 'no caption band was found in video %, so there is no crop region to approve', p_video_id
            using errcode = 'CA003', hint = 'Give a crop region.';
    end if;
    perform _check_crop_region(region);
    if p_caption_zones is not null then
        zones := _checked_zones(p_caption_zones);
    elsif video.crop_region is not null then
        zones := video.caption_zones;
    else
        zones := _zones_beside(video.proposed_caption_zones, region);
    end if;
    -- Approving the same regions again does not process the video again.
    if video.layout_status = 'done' and video.crop_region = region and video.caption_zones = zones then
        return video;
    end if;
    return _approve_layout(p_video_id, p_approved_by, region, zones);
end
$$;
comment on function captionacc.approve_layout(uuid, text, jsonb, jsonb) is
    'Approve a crop region (null: the proposed one) and further zones (null: those approved before, or at '
    'first the proposed ones that do not overlap the region). A change gets a new crop_region_version, '
    'displaces the runs of boundaries and text and returns both stages to wait.';

create or replace function captionacc.finish_layout(
    p_video_id uuid,
    p_run_id text,
    p_duration_seconds double precision,
    p_width integer,
    p_height integer,
    p_video_codec text,
    p_frame_count bigint,
    p_layout_found boolean,
    p_layout_confidence double precision,
    p_crop_region jsonb default null,
    p_note text default '',
    p_bitrate bigint default null,
    p_full_frame_count integer default null,
    p_ocr_box_count integer default null,
    p_failed_ocr_count integer default null,
    p_damage text default '',
    p_caption_zones jsonb default '[]'
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
    zones jsonb := _checked_zones(p_caption_zones);
begin
    perform _check_owner(video, 'layout', p_run_id);
    if p_crop_region is not null then
        perform _check_crop_region(p_crop_region);
    end if;
    if p_layout_found is null or (p_layout_found and p_crop_region is null) then
        raise exception 'a layout that was found needs a crop region' using errcode = 'CA010';
    end if;
    -- Only a person may change an approval, not a later analysis.
    update videos set
        duration_seconds = p_duration_seconds, width = p_width, height = p_height, video_codec = p_video_codec,
        bitrate = coalesce(p_bitrate, bitrate), frame_count = p_frame_count,
        full_frame_count = coalesce(p_full_frame_count, full_frame_count),
        ocr_box_count = coalesce(p_ocr_box_count, ocr_box_count),
        failed_ocr_count = coalesce(p_failed_ocr_count, failed_ocr_count), damage = coalesce(p_damage, ''),
        layout_status = case when crop_region is null then 'annotate' else 'done' end,
        layout_error_details = null, layout_run_id = null, layout_finished_at = clock_timestamp(),
        layout_note = coalesce(p_note, ''), layout_found = p_layout_found,
        layout_confidence = p_layout_confidence, proposed_crop_region = p_crop_region::crop_region,
        proposed_caption_zones = zones
    where id = p_video_id
    returning * into result;
    -- Without a caption band the confidence is that of its absence. A policy that accepts it processes the
    -- fallback region, which gives an empty result without asking a person.
    if result.crop_region is null and p_crop_region is not null and exists (
        select from tenants
        where id = result.tenant_id and p_layout_confidence >= auto_approve_layout_confidence
    ) then
        result := _approve_layout(p_video_id, 'auto', p_crop_region, zones);
    end if;
    return result;
end
$$;
comment on function captionacc.finish_layout(
    uuid, text, double precision, integer, integer, text, bigint, boolean, double precision, jsonb,
    text, bigint, integer, integer, integer, text, jsonb
) is
    'Record a layout: ready for a person, or approved as ''auto'' by the tenant''s policy. If no caption '
    'band was found, the confidence is that of its absence and the crop region is a fallback. An earlier '
    'approval and its crop region stay. CA002 if the run is not the worker.';

create or replace function captionacc._act(p_action text, p_video_id uuid, p_arguments jsonb) returns jsonb
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    answer jsonb := coalesce(_refused_caller(p_action, p_video_id), _over_limit(p_action));
    caller text := auth.uid()::text;
    video videos;
    reason text;
    hint text;
begin
    if answer is not null then
        return answer;
    end if;
    begin
        case p_action
            when 'approve_layout' then
                video := approve_layout(p_video_id, caller, nullif(p_arguments -> 'crop_region', 'null'),
                    nullif(p_arguments -> 'caption_zones', 'null'));
                update videos
                set disable_age_boosting = coalesce((p_arguments ->> 'disable_age_boosting')::boolean, false)
                where id = p_video_id returning * into video;
            when 'request_caption_ocr' then
                answer := jsonb_build_object('request', to_jsonb(request_caption_ocr(p_video_id,
                    case when jsonb_typeof(p_arguments -> 'caption_ids') = 'array' then
                        array(select value::bigint from jsonb_array_elements_text(p_arguments -> 'caption_ids'))
                    end, caller)));
            when 'complete_review' then
                video := complete_review(p_video_id, p_arguments ->> 'stage');
            when 'retry' then
                video := retry_stage(p_video_id, p_arguments ->> 'stage');
            when 'cancel' then
                video := cancel_stage(p_video_id, p_arguments ->> 'stage', caller);
        end case;
    exception
        when others then
            if sqlstate not like 'CA%' then
                raise;
            end if;
            get stacked diagnostics reason = message_text, hint = pg_exception_hint;
            return _refused(p_action, p_video_id, sqlstate, reason, hint, 'refused_by_state');
    end;
    perform _audit(p_action, 'allowed', '', p_video_id, p_arguments);
    if video.id is null then
        select * into video from videos where id = p_video_id;
    end if;
    return jsonb_build_object('ok', true, 'video', to_jsonb(video)) || coalesce(answer, '{}');
end
$$;

create or replace function captionacc.app_approve_layout(
    p_video_id uuid, p_crop_region jsonb default null, p_disable_age_boosting boolean default false,
    p_caption_zones jsonb default null
) returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('approve_layout', p_video_id,
        jsonb_build_object('crop_region', p_crop_region, 'disable_age_boosting', p_disable_age_boosting)
        || case when p_caption_zones is null then '{}' else jsonb_build_object('caption_zones', p_caption_zones) end)
$$;
comment on function captionacc.app_approve_layout(uuid, jsonb, boolean, jsonb) is
    'Approve a crop region and further zones, as approve_layout does. With p_disable_age_boosting the following runs gain '
    'no priority by waiting.';

alter table captionacc.videos add constraint videos_proposed_caption_zones_check CHECK (captionacc.is_caption_zones(proposed_caption_zones));

alter table captionacc.videos add constraint videos_caption_zones_check CHECK (captionacc.is_caption_zones(caption_zones));

alter table captionacc.cropped_frames_versions add constraint cropped_frames_versions_caption_zones_check CHECK (captionacc.is_caption_zones(caption_zones));

create view captionacc.demo_videos with (security_barrier=true) as
 SELECT id,
    display_path,
    size_bytes,
    created_at,
    updated_at,
    duration_seconds,
    width,
    height,
    frame_count,
    layout_status,
    crop_region,
    crop_region_version,
    boundaries_status,
    current_cropped_frames_version,
    caption_count,
    text_status,
    text_caption_count,
    caption_zones
   FROM captionacc.videos
  WHERE (is_demo AND (deleted_at IS NULL))
 OFFSET 0;

create view captionacc.demo_cropped_frames_versions with (security_barrier=true) as
 SELECT c.video_id,
    c.version,
    c.crop_region,
    c.crop_region_version,
    c.frame_rate,
    c.status,
    c.chunk_count,
    c.total_frames,
    c.caption_zones
   FROM (captionacc.cropped_frames_versions c
     JOIN captionacc.videos v ON ((v.id = c.video_id)))
  WHERE (v.is_demo AND (v.deleted_at IS NULL) AND (c.status = 'active'::text))
 OFFSET 0;

revoke execute on function captionacc._approve_layout(uuid,text,jsonb,jsonb) from public;

revoke execute on function captionacc._checked_zones(jsonb) from public;

revoke execute on function captionacc._zones_beside(jsonb,jsonb) from public;

revoke execute on function captionacc.allot_cropped_frames_version(uuid,text,jsonb,jsonb) from public;

revoke execute on function captionacc.app_approve_layout(uuid,jsonb,boolean,jsonb) from public;

revoke execute on function captionacc.approve_layout(uuid,text,jsonb,jsonb) from public;

revoke execute on function captionacc.finish_layout(uuid,text,double precision,integer,integer,text,bigint,boolean,double precision,jsonb,text,bigint,integer,integer,integer,text,jsonb) from public;

revoke execute on function captionacc.is_caption_zones(jsonb) from public;

grant execute on function captionacc.app_approve_layout(uuid,jsonb,boolean,jsonb) to authenticated;

grant select on table captionacc.demo_cropped_frames_versions to anon;

grant select on table captionacc.demo_cropped_frames_versions to authenticated;

grant select on table captionacc.demo_videos to anon;

grant select on table captionacc.demo_videos to authenticated;

comment on view captionacc.demo_videos is 'Public columns of the demo videos.';

comment on view captionacc.demo_cropped_frames_versions is 'Active cropped-frames versions of demo_videos.';

comment on column captionacc.cropped_frames_versions.caption_zones is 'Zones beside crop_region whose chunks the version has too.';

comment on column captionacc.videos.crop_region_version is '0 before the first approval, incremented with each changed region or zone.';

comment on column captionacc.videos.proposed_caption_zones is 'Places of captions beside proposed_crop_region, found by layout analysis.';

comment on column captionacc.videos.caption_zones is 'Approved places of captions beside crop_region, which is zone 0: zone_index, crop_region, language.';
