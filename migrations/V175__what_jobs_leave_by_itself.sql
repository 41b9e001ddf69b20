-- As the two files before. Whoever writes these has locked the job first.
lock table job in access exclusive mode;
alter table job_need drop constraint job_need_job_id_fkey;
comment on column job_need.job_id is 'The job; the statement that writes this row writes it too.';
alter table approval drop constraint approval_job_id_fkey;
comment on column approval.job_id is 'The job; the statement that writes this row holds it.';
alter table step_usage drop constraint step_usage_job_id_fkey;
comment on column step_usage.job_id is 'The job; the statement that writes this row holds it.';
-- Files go before their rows, and these before the job.
alter table artifact drop constraint artifact_job_id_fkey;
comment on column artifact.job_id is 'The job; the transaction that writes this row holds it.';
