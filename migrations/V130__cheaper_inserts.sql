-- The statement that writes a specification writes its job, and whoever deletes jobs deletes it first (see
-- src/store/retain.rs): as with attempts and steps (V90) the key would look each job up again, 4 of 50 µs that
-- PostgreSQL takes for a job that comes in.
alter table job_spec drop constraint job_spec_job_id_fkey;
comment on column job_spec.job_id is 'The job; the statement that writes this row writes it too.';

-- The same of output: the statement that writes it holds the job, so that nobody ends the attempt meanwhile.
alter table log drop constraint log_job_id_fkey;
comment on column log.job_id is 'The job; the statement that writes this row holds it.';
