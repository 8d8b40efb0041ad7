create or replace function captionacc.app_request_caption_ocr(p_video_id uuid, p_caption_ids bigint[] default null)
returns jsonb
language sql security definer
set search_path = captionacc, pg_temp
as $$
    select _act('request_caption_ocr', p_video_id, jsonb_build_object('caption_ids', p_caption_ids))
$$;
comment on function captionacc.app_request_caption_ocr(uuid, bigint[]) is
    'Request new OCR of some captions, or of all captions (null). The answer contains the request.';
