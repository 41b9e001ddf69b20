create index if not exists job_spec_of_project on job_spec (of_project, job_id desc);

-- The jobs in a state. Most have succeeded, and are found among all jobs without an index of their own.
create index if not exists job_in_state on job (state, id desc) where state <> 'succeeded';
