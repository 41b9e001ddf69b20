-- Everything of ours becomes orchestrator_owner's, and what migrations make from here on. Nothing is
-- changed when it is so already: a second run takes no lock.
do $$
declare
    owner_before oid := (select relowner from pg_class where oid = to_regclass('public.refinery_schema_history'));
    thing record;
begin
    if to_regrole('orchestrator_owner') is null or not pg_has_role(current_user, 'orchestrator_owner', 'member') then
        return;
    end if;
    if not (has_schema_privilege('orchestrator_owner', 'public', 'create')
            and has_database_privilege('orchestrator_owner', current_database(), 'create')) then
        execute format('grant create on database %I to orchestrator_owner', current_database());
        grant usage, create on schema public to orchestrator_owner with grant option;
    end if;
    if not (has_schema_privilege('orchestrator_owner', 'public', 'create')
            and has_database_privilege('orchestrator_owner', current_database(), 'create')) then
        return;
    end if;
    if owner_before is not null and owner_before <> to_regrole('orchestrator_owner') and pg_has_role(current_user, owner_before, 'usage') then
        for thing in
            -- The schema first: what is in it can only be given to who may make things there.
            select 0 as place, 'alter schema report owner to orchestrator_owner' as statement from pg_namespace where nspname = 'report' and nspowner = owner_before
             union all
            select 1, format('alter %s %s owner to orchestrator_owner', case relkind when 'v' then 'view' else 'table' end, pg_class.oid::regclass)
              from pg_class where relnamespace in (to_regnamespace('public'), to_regnamespace('report')) and relowner = owner_before and relkind in ('r', 'p', 'v')
             union all
            select 1, format('alter type %s owner to orchestrator_owner', pg_type.oid::regtype)
              from pg_type where typnamespace = to_regnamespace('public') and typowner = owner_before and typtype = 'e'
             union all
            select 1, format('alter routine %s owner to orchestrator_owner', pg_proc.oid::regprocedure)
              from pg_proc where pronamespace in (to_regnamespace('public'), to_regnamespace('report')) and proowner = owner_before
               and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e')
             order by place
        loop
            execute thing.statement;
        end loop;
    end if;
    set role orchestrator_owner;
exception when insufficient_privilege then
    -- Said afterwards, from what is there then.
    null;
end $$;
