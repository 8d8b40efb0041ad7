create or replace function captionacc.register_upload(
    p_tenant_id uuid, p_video_id uuid, p_storage_key text, p_size_bytes bigint, p_display_path text,
    p_uploaded_by_user_id uuid default null
) returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    candidate videos;
    refusal record;
begin
    if p_size_bytes is null or p_size_bytes < 1 then
        raise exception 'size % is not a number of bytes', p_size_bytes using errcode = 'CA010';
    end if;
    candidate.tenant_id := p_tenant_id;
    candidate.size_bytes := p_size_bytes;
    select * into refusal from _quota_refusal(candidate, 0, 0);
    if found then
        raise exception '%', refusal.message using errcode = 'CA014';
    end if;
    return register_video(p_tenant_id, p_video_id, p_storage_key, p_size_bytes, p_display_path, false,
        p_uploaded_by_user_id);
end
$$;
comment on function captionacc.register_upload(uuid, uuid, text, bigint, text, uuid) is
    'Register a video whose file is about to be uploaded. CA014 if it would exceed a quota now; the claim '
    'checks again. CA006, CA008, CA010.';
