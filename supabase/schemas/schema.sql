create schema if not exists captionacc;
comment on schema captionacc is 'Catalogue of CaptionA.cc: tenants, videos and their states, locks, versions.';

grant usage on schema captionacc to service_role;
grant usage on schema captionacc to anon, authenticated;
alter default privileges in schema captionacc
    grant select, insert, update, delete on tables to service_role;
alter default privileges in schema captionacc
    grant execute on functions to service_role;
