-- A job that is retried by hand and needs a job that has not succeeded yet waits for it again.
create or replace trigger job_takes_only_legal_ways after update of state, attempt on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and (new.state = old.state
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state <> 'blocked')
             or (old.state = 'awaiting_approval' and new.state in ('scheduled', 'available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('blocked', 'scheduled', 'available')))))
    execute function refuse_job_state();
