-- Who waits at a gate lies by its queue there: those of a paused queue, of which there may be any number, are passed over in
-- one step.
create index job_waiting_at_key on job (project_id, concurrency_key, queue, priority desc, run_at, id) where gate = 'key';
create index job_waiting_at_project on job (project_id, queue, priority desc, run_at, id) where gate = 'project';
drop index job_waiting_for_key;
drop index job_waiting_for_project;

-- In PL/pgSQL, which keeps its plans from one statement to the next.
create function unpaused_at_gate(of_project uuid, of_key text) returns setof text language plpgsql stable rows 3 as $$
declare
    next text := '';
begin
    loop
        if of_key is null then
            next := (select queue from job where project_id = of_project and gate = 'project' and queue > next
                      order by queue limit 1);
        else
            next := (select queue from job where project_id = of_project and concurrency_key = of_key and gate = 'key' and queue > next
                      order by queue limit 1);
        end if;
        exit when next is null;
        if not exists (select from queue where name = next and paused_at is not null) then
            return next next;
        end if;
    end loop;
end $$;
comment on function unpaused_at_gate is 'The queues of those who wait for room under a key of a project, or in the project itself (null), but for those that are paused.';
