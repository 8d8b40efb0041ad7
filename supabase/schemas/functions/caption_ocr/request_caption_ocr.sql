create or replace function captionacc.request_caption_ocr(
    p_video_id uuid, p_caption_ids bigint[] default null, p_requested_by text default 'service'
) returns captionacc.caption_ocr_requests
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    wanted bigint[];
    result caption_ocr_requests;
begin
    perform _check_text(p_requested_by, 'who asks');
    if video.boundaries_status not in ('annotate', 'done') then
        raise exception 'video % has no captions to read (its boundaries are in state %)', p_video_id,
            video.boundaries_status using errcode = 'CA002';
    end if;
    if p_caption_ids is not null then
        select array_agg(distinct id order by id) into wanted from unnest(p_caption_ids) id;
        if wanted is null or cardinality(p_caption_ids) > 10000
            or exists (select from unnest(p_caption_ids) id where id is null or id < 1)
        then
            raise exception 'caption ids % are not usable', left(p_caption_ids::text, 100)
                using errcode = 'CA010', hint = 'Give 1 to 10000 ids of captions, or null for all of them.';
        end if;
    end if;
    -- A repeated request changes nothing.
    select * into result from caption_ocr_requests
    where video_id = p_video_id and status = 'queued' and caption_ids is not distinct from wanted
        and cropped_frames_version = video.current_cropped_frames_version;
    if result.id is not null then
        return result;
    end if;
    insert into caption_ocr_requests (tenant_id, video_id, cropped_frames_version, caption_ids, requested_by)
    values (video.tenant_id, p_video_id, video.current_cropped_frames_version, wanted, p_requested_by)
    returning * into result;
    return result;
end
$$;
comment on function captionacc.request_caption_ocr(uuid, bigint[], text) is
    'Request new OCR of some captions, or of all captions (null). CA002 if the video has no captions yet.';
