-- Roles, schema auth and auth.uid(), which a Supabase project has and a plain PostgreSQL lacks.
-- On Supabase these statements find their objects and change nothing.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
        if exists (select from pg_catalog.pg_roles where rolname = wanted) then
            continue;
        end if;
        begin
            execute format('create role %I nologin noinherit', wanted);
            if wanted = 'service_role' then
                execute format('alter role %I bypassrls', wanted);
            end if;
        exception
            -- Roles belong to the server: a concurrent migration of another database may create them.
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                raise exception 'role % is missing and this user may not create it', wanted
                    using hint = 'Migrate once as a superuser, or have the roles anon, authenticated '
                        'and service_role (bypassrls) created.';
        end;
    end loop;
end
$$;

create schema if not exists auth;

do $$
begin
    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid
        language sql stable
        as $function$
            select nullif(
                coalesce(
                    nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
                ), ''
            )::uuid
        $function$;
        comment on function auth.uid() is
            'The user of the request, from its JWT claims; null without a request. Replaces Supabase''s own function.';
        grant usage on schema auth to anon, authenticated, service_role;
    end if;
end
$$;
