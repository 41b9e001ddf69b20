-- Who may be moved because a job ended, as far as that is known: of many who need one job, some at a time go on, and those
-- that went on or have to wait for others are not to be looked at as if they had not. States are asked row by row: joined, a
-- planner who has seen few jobs begins with all of them.
create view job_to_hear as
select needs_id, job_id
  from job_need
 where (select state = 'blocked' from job where job.id = job_id)
   and (select bool_and(state = 'succeeded') or bool_or(state in ('failed', 'cancelled'))
          from (select (select state from job where job.id = each.needs_id) as state
                  from job_need as each where each.job_id = job_need.job_id) as needed);
comment on view job_to_hear is 'Blocked jobs whose time has come: all they need succeeded, or something of it did not.';
