-- Lists of a project's jobs are read along an index of `job`, where each claim and each settle writes all its entries
-- again: a third of the time that PostgreSQL takes for them. They move to what is written once with the job, as those
-- of a queue did (V103): this file and the two after it.
--
-- Not `project_id`: a binary that does not know it asks for that name where specifications are joined.
-- To be `not null` once no such binary runs.
alter table job_spec add column of_project uuid;
comment on column job_spec.of_project is 'The job''s project, to find its jobs by.';

-- A binary that does not know the column yet writes the job in the same statement, where a trigger cannot see it; at
-- the end of the transaction it can.
create function keep_project_of_job() returns trigger language plpgsql as $$
begin
    update job_spec set of_project = job.project_id from job where job.id = new.job_id and job_spec.job_id = new.job_id;
    return null;
end $$;
create constraint trigger project_of_job_is_kept after insert on job_spec deferrable initially deferred for each row
    when (new.of_project is null) execute function keep_project_of_job();
