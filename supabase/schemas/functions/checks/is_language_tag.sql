create or replace function captionacc.is_language_tag(p_value text) returns boolean
language sql immutable parallel safe
set search_path = ''
as $$
    select p_value ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$' and length(p_value) <= 35
$$;
comment on function captionacc.is_language_tag(text) is
    'Return whether the value has the form of a BCP-47 tag. Null for null.';
