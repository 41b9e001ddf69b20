-- A bounded repetition is a state for each character to the regular expressions of PostgreSQL: `{0,127}` took 54,000
-- instructions for every job that came in, a fifth of what its insert took. Length and characters, asked for apart, take 4,000.
create or replace trigger queue_and_label_are_names before insert or update of queue, runs_on on job for each row
    when (not (octet_length(new.queue) <= 128 and new.queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'
               and (new.runs_on = ''
                    or octet_length(new.runs_on) <= 128 and new.runs_on ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$')))
    execute function refuse_job_name();
