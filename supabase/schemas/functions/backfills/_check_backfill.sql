create or replace function captionacc._check_backfill(p_model_version text, p_conditions jsonb, p_limit integer) returns void
language plpgsql stable
set search_path = captionacc, pg_temp
as $$
declare
    condition record;
begin
    perform _check_text(p_model_version, 'the model version');
    if p_limit is not null and p_limit < 1 then
        raise exception 'a limit of % videos is not usable', p_limit using errcode = 'CA010';
    end if;
    if p_conditions is null or jsonb_typeof(p_conditions) <> 'object' then
        raise exception 'conditions % are not an object', p_conditions using errcode = 'CA010';
    end if;
    for condition in select key, value from jsonb_each(p_conditions) loop
        if condition.key not in ('tenant', 'video', 'model_version', 'status', 'uploaded_before', 'uploaded_after') then
            raise exception 'there is no condition %', condition.key using errcode = 'CA010';
        end if;
        if jsonb_typeof(condition.value) <> 'array' or jsonb_array_length(condition.value) = 0
            or exists (select from jsonb_array_elements(condition.value) v where jsonb_typeof(v) <> 'string')
        then
            raise exception 'condition % is not a list of texts', condition.key using errcode = 'CA010';
        end if;
        if condition.key = 'status' and not condition.value <@ '["ready", "reviewed"]' then
            raise exception 'status % is not ready or reviewed', condition.value using errcode = 'CA010';
        end if;
    end loop;
end
$$;
