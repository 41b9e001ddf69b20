-- What is said of a job's end stays until it is retried: to change it is no change of state, and so was not refused.
create or replace function refuse_job_state() returns trigger language plpgsql as $$
begin
    if new.state = old.state and old.finished_at is not null and new.attempt = old.attempt then
        raise exception 'job % has ended; what is said of its end stays', old.id
            using errcode = 'check_violation', constraint = 'job_stays_ended', table = 'job';
    end if;
    raise exception 'job % cannot go from % (attempt %) to % (attempt %)', old.id, old.state, old.attempt, new.state, new.attempt
        using errcode = 'check_violation', constraint = 'job_takes_only_legal_ways', table = 'job';
end $$;
create or replace trigger job_takes_only_legal_ways
    after update of state, attempt, runner_id, finished_at, code, message on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and ((new.state = old.state and new.runner_id is not distinct from old.runner_id
              and (old.finished_at is null
                   or (new.finished_at, new.code, new.message) is not distinct from (old.finished_at, old.code, old.message)))
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state not in ('blocked', 'running'))
             or (old.state = 'awaiting_approval' and new.state in ('scheduled', 'available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('blocked', 'scheduled', 'available')))))
    execute function refuse_job_state();
