-- What claim and settle do for each job and need not.

-- A trigger before an update fetches and locks the row once more, whatever its condition says; one after it does not.
create or replace trigger job_takes_only_legal_ways after update of state, attempt on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and (new.state = old.state
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state <> 'blocked')
             or (old.state = 'awaiting_approval' and new.state in ('scheduled', 'available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('scheduled', 'available')))))
    execute function refuse_job_state();
create or replace trigger queue_and_label_are_names after insert or update of queue, runs_on on job for each row
    when (not (octet_length(new.queue) <= 128 and new.queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'
               and (new.runs_on = ''
                    or octet_length(new.runs_on) <= 128 and new.runs_on ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$')))
    execute function refuse_job_name();

-- The last claim stays with the job, so that whoever ends an attempt need not look at the row before it, for its start.
alter table job drop constraint claimed_iff_running,
    add constraint claimed_while_running check (state <> 'running' or claimed_at is not null) not valid;
comment on column job.claimed_at is 'When it was claimed last.';
