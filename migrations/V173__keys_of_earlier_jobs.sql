-- As with attempts and steps (V90): whoever writes such a row writes the job, or holds it, and whoever deletes jobs
-- deletes these first. A foreign key looks the job up for each row here, and is looked at whenever a job changes.
--
-- This and the next two files take their locks in the order of the statements that write these tables. One file for all
-- would hold `job` and wait for `job_key`, as a statement that puts jobs in holds `job_key` and waits for `job`.
alter table job_key drop constraint job_key_job_id_fkey;
comment on column job_key.job_id is 'The job; the statement that writes this row writes it too.';
