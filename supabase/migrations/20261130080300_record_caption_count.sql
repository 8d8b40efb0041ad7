create or replace function captionacc.record_caption_count(p_token uuid, p_caption_count integer) returns boolean
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    edited uuid;
begin
    if p_caption_count is null or p_caption_count < 0 then
        raise exception '% is not a number of captions', p_caption_count using errcode = 'CA010';
    end if;
    select video_id into edited from video_database_state
    where lock_token = p_token and database_name = 'captions' and lock_expires_at > clock_timestamp();
    if edited is null then
        raise exception 'the lock''s lease has expired, or another owner has taken it' using errcode = 'CA005';
    end if;
    -- A run that is working on the text records the number when it ends.
    update videos set text_caption_count = p_caption_count where id = edited and text_caption_count is not null;
    return found;
end
$$;
comment on function captionacc.record_caption_count(uuid, integer) is
    'Record how many captions have text after a person edited captions.db, whose lock the caller holds. CA005 '
    'if the lease has expired. Returns false if no run has read text yet.';

revoke execute on function captionacc.record_caption_count(uuid,integer) from public;
