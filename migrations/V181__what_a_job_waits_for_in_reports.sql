-- Why a job does not run yet, and where it may: what the command line and the API say of it, for whoever asks in SQL.
create or replace view report.jobs with (security_barrier) as
select job.id as job_id, (select alias from public.project where id = job.project_id) as project, job.queue, job.state::text as state, job.priority,
       (select spec ->> 'goal' from public.job_spec where job_id = job.id) as goal,
       (select spec -> 'tags' from public.job_spec where job_id = job.id) as tags,
       job.created_at, job.run_at as due_at, job.started_at, job.finished_at,
       extract(epoch from job.started_at - job.created_at)::double precision as started_after_sec,
       extract(epoch from job.finished_at - job.started_at)::double precision as ran_for_sec,
       job.attempt as attempts, job.losses, job.code, job.message,
       job.max_attempts, nullif(job.runs_on, '') as runs_on, job.gate, job.concurrency_key, job.concurrency_limit, job.unique_key,
       -- As above: looked up where it is asked for.
       array(select needs_id from public.job_need where job_need.job_id = job.id order by needs_id) as needs,
       job.cancel_asked_at
  from public.job
 where (select report.visible_projects()) is null or job.project_id = any ((select report.visible_projects())::uuid[])
 order by job.id desc;
comment on column report.jobs.max_attempts is 'After so many attempts that ended because the runner vanished it fails as lost.';
comment on column report.jobs.runs_on is 'The label of the runners that may claim it; null is any runner.';
comment on column report.jobs.gate is 'What it waits at though it is due: key for room under its concurrency key, project for room in its project; null is neither.';
comment on column report.jobs.concurrency_key is 'Jobs of the project under the same key run at most concurrency_limit at once.';
comment on column report.jobs.unique_key is 'While it has not ended, no other job of the project has the same.';
comment on column report.jobs.needs is 'Ids of the jobs that must succeed before it runs; empty is none.';
comment on column report.jobs.cancel_asked_at is 'When its cancellation was asked for while it ran; null is never.';
