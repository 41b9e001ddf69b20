-- As the file before.
alter table workspace drop constraint workspace_job_id_fkey;
comment on column workspace.job_id is 'The job; the statement that writes this row holds it.';
