create or replace function captionacc.record_rejection(
    p_tenant_id uuid,
    p_rejection_type text,
    p_message text,
    p_video_id uuid default null,
    p_cropped_frames_version integer default null,
    p_model_version text default null,
    p_run_id text default null,
    p_frame_count bigint default null,
    p_estimated_cost_usd numeric default null
) returns captionacc.caption_frame_extents_inference_rejections
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result caption_frame_extents_inference_rejections;
begin
    perform _check_text(p_message, 'the rejection''s message');
    if not exists (select from tenants where id = p_tenant_id) then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    if p_video_id is not null
        and not exists (select from videos where id = p_video_id and tenant_id = p_tenant_id)
    then
        raise exception 'video % is not in the catalogue of tenant %', p_video_id, p_tenant_id
            using errcode = 'CA001';
    end if;
    insert into caption_frame_extents_inference_rejections (
        tenant_id, video_id, rejection_type, message, cropped_frames_version, model_version, run_id, frame_count,
        estimated_cost_usd
    ) values (
        p_tenant_id, p_video_id, p_rejection_type, left(p_message, 4000), p_cropped_frames_version,
        p_model_version, p_run_id, p_frame_count, p_estimated_cost_usd
    )
    returning * into result;
    return result;
end
$$;
comment on function captionacc.record_rejection(
    uuid, text, text, uuid, integer, text, text, bigint, numeric
) is
    'Record for a tenant that work was refused, and why.';
