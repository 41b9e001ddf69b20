-- An attempt is one session's from its claim to its end: (job, attempt) would not name whose results count otherwise.
create or replace trigger job_takes_only_legal_ways after update of state, attempt, runner_id on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and ((new.state = old.state and new.runner_id is not distinct from old.runner_id)
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state not in ('blocked', 'running'))
             or (old.state = 'awaiting_approval' and new.state in ('scheduled', 'available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('blocked', 'scheduled', 'available')))))
    execute function refuse_job_state();
