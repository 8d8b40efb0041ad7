create or replace function captionacc.set_partition_keys(p_keys jsonb) returns setof captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
begin
    if jsonb_typeof(p_keys) is distinct from 'object' then
        raise exception 'partition keys are an object of ids and keys' using errcode = 'CA010';
    end if;
    begin
        -- In the order of the ids, so that two callers do not wait for each other.
        perform from videos where id in (select k.id::uuid from jsonb_object_keys(p_keys) k (id))
        order by id for update;
        update videos v set partition_key = k.value
        from jsonb_each_text(p_keys) k
        where v.id = k.key::uuid and v.partition_key is null and v.layout_tries = 0;
    exception
        when check_violation or invalid_text_representation then
            raise exception 'a partition key does not end with its video''s id, or is too long'
                using errcode = 'CA010';
    end;
    return query select v.* from videos v where v.id in (select k.id::uuid from jsonb_object_keys(p_keys) k (id));
end
$$;
comment on function captionacc.set_partition_keys(jsonb) is
    'Set the partition keys of videos that have none and that no run has begun; return the videos.';
