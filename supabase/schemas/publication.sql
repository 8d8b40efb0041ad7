-- Supabase Realtime sends changes of the tables in its publication, which a plain PostgreSQL has not.

do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime add table captionacc.videos;
    end if;
end
$$;
