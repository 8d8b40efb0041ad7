create or replace function captionacc.acknowledge_rejection(p_rejection_id uuid, p_acknowledged_by text)
returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_acknowledged_by, 'who acknowledges');
    update caption_frame_extents_inference_rejections set
        acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
        acknowledged_by = coalesce(acknowledged_by, p_acknowledged_by)
    where id = p_rejection_id returning * into result;
    if result.id is null then
        raise exception 'rejection % is not in the catalogue', p_rejection_id using errcode = 'CA012';
    end if;
    return result;
end
$$;
comment on function captionacc.acknowledge_rejection(uuid, text) is
    'Record who acknowledged a rejection; the first acknowledgement stays.';
