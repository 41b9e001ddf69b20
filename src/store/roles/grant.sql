-- What each role may do with what is this session's: run again after every migration, and told to
-- PostgreSQL for what later ones make.
do $$
declare
    thing record;
begin
    if to_regrole('orchestrator_app') is not null then
        grant usage on schema report to orchestrator_app;
        -- Everybody has it, unless an administrator took it away; who may not give it is warned for nothing.
        if not has_schema_privilege('orchestrator_app', 'public', 'usage') then
            grant usage on schema public to orchestrator_app;
        end if;
        for thing in
            select oid::regclass as name, relkind, relnamespace = 'report'::regnamespace as is_report from pg_class
             where relnamespace in ('public'::regnamespace, 'report'::regnamespace) and relkind in ('r', 'p', 'v', 'S')
               and pg_has_role(current_user, relowner, 'usage')
        loop
            if thing.is_report then
                execute format('grant select on %s to orchestrator_app', thing.name);
            elsif thing.relkind = 'S' then
                execute format('grant usage, select on sequence %s to orchestrator_app', thing.name);
            else
                execute format('grant select, insert, update, delete on %s to orchestrator_app', thing.name);
            end if;
        end loop;
        -- What was migrated is the owner's word, and history is never rewritten. Which project a reader sees is
        -- an administrator's.
        revoke insert, update, delete on public.refinery_schema_history, public.reader from orchestrator_app;
        revoke update on public.event, public.attempt, public.step, public.step_usage from orchestrator_app;
        alter default privileges in schema public grant select, insert, update, delete on tables to orchestrator_app;
        alter default privileges in schema public grant usage, select on sequences to orchestrator_app;
        alter default privileges in schema report grant select on tables to orchestrator_app;
    end if;
    if to_regrole('orchestrator_reporter') is not null then
        grant usage on schema report to orchestrator_reporter;
        for thing in
            select oid::regclass as name from pg_class
             where relnamespace = 'report'::regnamespace and relkind = 'v' and pg_has_role(current_user, relowner, 'usage')
        loop
            execute format('grant select on %s to orchestrator_reporter', thing.name);
        end loop;
        alter default privileges in schema report grant select on tables to orchestrator_reporter;
    end if;
end $$;
-- Before PostgreSQL 15 everybody may make tables in `public`.
do $$
begin
    if has_schema_privilege('public', 'public', 'create') then
        revoke create on schema public from public;
    end if;
exception when insufficient_privilege then
    null;
end $$;
