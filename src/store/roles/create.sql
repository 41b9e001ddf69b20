-- The three roles, made when they are missing and this session may make roles. They are the cluster's, not the
-- database's, so another database may be making them at the same time.
do $$
declare
    role text;
begin
    if not (select rolsuper or rolcreaterole from pg_roles where rolname = current_user) then
        return;
    end if;
    foreach role in array array['orchestrator_owner', 'orchestrator_app', 'orchestrator_reporter'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
    -- Who makes a role may not yet act as it.
    if not pg_has_role(current_user, 'orchestrator_owner', 'member') then
        execute format('grant orchestrator_owner to %I', current_user);
    end if;
end $$;
