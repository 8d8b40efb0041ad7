-- Supabase Realtime sends the changes of the tables in its publication. A plain PostgreSQL has no publication.

do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime add table captionacc.videos;
    end if;
end
$$;
