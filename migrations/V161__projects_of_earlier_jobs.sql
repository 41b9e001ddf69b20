-- In a file of its own: it holds rows for as long as it takes, and not the table, which adding the column did.
update job_spec set of_project = job.project_id from job where job.id = job_spec.job_id and job_spec.of_project is null;
