-- Questions in SQL: views with stable names and columns, for people and dashboards.
--
-- Columns are added, never renamed or removed. Every view is a security barrier: a condition of the asker's
-- is not evaluated on rows the asker may not see, and it shows the projects the asker may see, which
-- is decided once a question and not once a row.

create schema if not exists report;
comment on schema report is 'What happened, to be asked: stable views. docs/REPORTING.md has a question for each.';

-- Runs as its owner, because who reads reports reads no table. `session_user` is who logged in: unlike
-- the current role, nobody can become somebody else to see more.
create function report.visible_projects() returns uuid[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when wall is null then chosen when chosen is null then wall
                else array(select unnest(wall) intersect select unnest(chosen)) end
      from (select (select project_ids from public.reader where role_name = session_user) as wall,
                   case when setting <> '' then array(select id from public.project where alias = any (string_to_array(setting, ','))) end as chosen
              from (select coalesce(current_setting('orchestrator.project', true), '') as setting) as asked) as both_limits
$$;
comment on function report.visible_projects() is 'Ids of the projects this session sees; null is all. Narrowed by the table reader for the role that logged in, and by the setting orchestrator.project (aliases, separated by commas).';

-- Looked-up columns are subqueries, not joins, and rows come in the order of a key: what is asked for the
-- latest reads the end of an index, and what does not ask for a column does not look it up. Both hold
-- though a barrier is planned by itself.
create view report.jobs with (security_barrier) as
select job.id as job_id, (select alias from public.project where id = job.project_id) as project, job.queue, job.state::text as state, job.priority,
       (select spec ->> 'goal' from public.job_spec where job_id = job.id) as goal,
       (select spec -> 'tags' from public.job_spec where job_id = job.id) as tags,
       job.created_at, job.run_at as due_at, job.started_at, job.finished_at,
       extract(epoch from job.started_at - job.created_at)::double precision as started_after_sec,
       extract(epoch from job.finished_at - job.started_at)::double precision as ran_for_sec,
       job.attempt as attempts, job.losses, job.code, job.message
  from public.job
 where (select report.visible_projects()) is null or job.project_id = any ((select report.visible_projects())::uuid[])
 order by job.id desc;
comment on view report.jobs is 'Every job that retention has kept, one row each. Ids are in the order of creation.';
comment on column report.jobs.due_at is 'When it may or might begin; a retry moves it.';
comment on column report.jobs.started_after_sec is 'Seconds from its acceptance to its first claim.';
comment on column report.jobs.ran_for_sec is 'Seconds from its first claim to its end, waits between attempts included.';
comment on column report.jobs.attempts is 'How often a runner claimed it.';
comment on column report.jobs.losses is 'How many of them ended because the runner vanished.';
comment on column report.jobs.code is 'Stable reason why it failed or was cancelled.';

create view report.steps with (security_barrier) as
select step.job_id, (select project.alias from public.job join public.project on project.id = job.project_id where job.id = step.job_id) as project,
       step.attempt, step.ordinal, step.position, step.step_id, step.agent,
       step.status, step.code, step.message, step.exit_code, step.signal, step.started_at, step.finished_at,
       extract(epoch from step.finished_at - step.started_at)::double precision as ran_for_sec, step.output_bytes
  from public.step
 where (select report.visible_projects()) is null
    or exists (select from public.job where job.id = step.job_id and job.project_id = any ((select report.visible_projects())::uuid[]))
 order by step.job_id desc, step.attempt desc, step.ordinal desc;
comment on view report.steps is 'Every step that ended, in the attempt that ran it.';
comment on column report.steps.position is 'Index of the step in the specification, from 0.';
comment on column report.steps.ordinal is 'Order of the step''s end within its attempt, from 0.';
comment on column report.steps.output_bytes is 'How much it printed, whether or not the log still holds it.';

create view report.attempts with (security_barrier) as
select tried.job_id, (select project.alias from public.job join public.project on project.id = job.project_id where job.id = tried.job_id) as project,
       (select queue from public.job where job.id = tried.job_id) as queue,
       tried.number as attempt, runner.host, runner.instance as runner, tried.due_at, tried.started_at, tried.ended_at,
       extract(epoch from greatest(tried.started_at - tried.due_at, interval '0'))::double precision as waited_sec,
       extract(epoch from coalesce(tried.ended_at, now()) - tried.started_at)::double precision as ran_for_sec,
       tried.outcome, tried.code
  from (select job_id, number, runner_id, due_at, started_at, ended_at, outcome, code from public.attempt
         union all
        select id, attempt, runner_id, run_at, claimed_at, null, 'running', null from public.job where state = 'running') as tried
  left join public.runner on runner.id = tried.runner_id
 where (select report.visible_projects()) is null
    or exists (select from public.job where job.id = tried.job_id and job.project_id = any ((select report.visible_projects())::uuid[]));
comment on view report.attempts is 'Every claim of a job by a runner, those that run now too.';
comment on column report.attempts.outcome is 'running, succeeded, failed, cancelled, retried (tried again after a wait), handed_back (by a runner that stopped), lost (its runner vanished).';
comment on column report.attempts.runner is 'The runner''s instance name; null once its session is past its retention.';
comment on column report.attempts.waited_sec is 'Seconds from when it was due to when it was claimed.';

create view report.queue_depth with (security_barrier) as
select queue, runs_on, project, state, jobs, oldest_due_at,
       case when state = 'available' then greatest(extract(epoch from now() - oldest_due_at), 0)::double precision end as oldest_waits_sec,
       exists (select from public.queue where name = depth.queue and paused_at is not null) as paused
  from (select job.queue, job.runs_on, project.alias as project, job.state::text as state, count(*) as jobs, min(job.run_at) as oldest_due_at
          from public.job
          join public.project on project.id = job.project_id
         where job.state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
           and ((select report.visible_projects()) is null or job.project_id = any ((select report.visible_projects())::uuid[]))
         group by job.queue, job.runs_on, project.alias, job.state) as depth;
comment on view report.queue_depth is 'Jobs that have not ended, at this moment.';
comment on column report.queue_depth.runs_on is 'Label a runner must have to claim them; empty for any runner.';
comment on column report.queue_depth.oldest_waits_sec is 'Seconds the oldest available one has waited for a runner.';
comment on column report.queue_depth.paused is 'An operator paused the queue: nothing of it is claimed.';

create view report.daily_throughput with (security_barrier) as
select rollup_job.day, project.alias as project, rollup_job.queue,
       coalesce(sum(jobs) filter (where what = 'submitted'), 0)::bigint as submitted,
       coalesce(sum(jobs) filter (where what = 'succeeded'), 0)::bigint as succeeded,
       coalesce(sum(jobs) filter (where what = 'failed'), 0)::bigint as failed,
       coalesce(sum(jobs) filter (where what = 'cancelled'), 0)::bigint as cancelled
  from public.rollup_job
  left join public.project on project.id = rollup_job.project_id
 where (select report.visible_projects()) is null or rollup_job.project_id = any ((select report.visible_projects())::uuid[])
 group by rollup_job.day, project.alias, rollup_job.queue;
comment on view report.daily_throughput is 'Jobs that came in and jobs that ended, by day (UTC). It outlives the jobs; see report.freshness.';
comment on column report.daily_throughput.failed is 'Ends as failed: a job that is retried and fails again counts again.';

create view report.failures_by_code with (security_barrier) as
select rollup_job.day, project.alias as project, rollup_job.queue, rollup_job.what as state, rollup_job.code, rollup_job.jobs
  from public.rollup_job
  left join public.project on project.id = rollup_job.project_id
 where rollup_job.what in ('failed', 'cancelled')
   and ((select report.visible_projects()) is null or rollup_job.project_id = any ((select report.visible_projects())::uuid[]));
comment on view report.failures_by_code is 'Why jobs failed or were cancelled, by day (UTC). It outlives the jobs; see report.freshness.';

-- The times of one day in order of their buckets, with how many are at most so long: a percentile is the
-- first bucket that reaches its share, and its middle is the answer.
create view report.wait_and_run_percentiles with (security_barrier) as
with running_total as (
    select day, project_id, queue, measure, bucket, attempts, seconds,
           sum(attempts) over (partition by day, project_id, queue, measure order by bucket) as so_far,
           sum(attempts) over (partition by day, project_id, queue, measure) as whole
      from public.rollup_time
     where (select report.visible_projects()) is null or project_id = any ((select report.visible_projects())::uuid[])
), measured as (
    select day, project_id, queue, measure, sum(attempts) as attempts, sum(seconds) as seconds,
           min(bucket) filter (where so_far >= 0.50 * whole) as p50,
           min(bucket) filter (where so_far >= 0.95 * whole) as p95,
           min(bucket) filter (where so_far >= 0.99 * whole) as p99
      from running_total
     group by day, project_id, queue, measure
), answered as (
    select day, project_id, queue, measure, attempts, seconds / attempts as mean_sec,
           case when p50 = 0 then 0 else power(1.1::double precision, p50 - 0.5) / 1000 end as p50_sec,
           case when p95 = 0 then 0 else power(1.1::double precision, p95 - 0.5) / 1000 end as p95_sec,
           case when p99 = 0 then 0 else power(1.1::double precision, p99 - 0.5) / 1000 end as p99_sec
      from measured
)
select coalesce(wait.day, run.day) as day, project.alias as project, coalesce(wait.queue, run.queue) as queue,
       coalesce(run.attempts, wait.attempts)::bigint as attempts,
       wait.mean_sec as wait_mean_sec, wait.p50_sec as wait_p50_sec, wait.p95_sec as wait_p95_sec, wait.p99_sec as wait_p99_sec,
       run.mean_sec as run_mean_sec, run.p50_sec as run_p50_sec, run.p95_sec as run_p95_sec, run.p99_sec as run_p99_sec
  from (select * from answered where measure = 'wait') as wait
  full join (select * from answered where measure = 'run') as run using (day, project_id, queue)
  left join public.project on project.id = coalesce(wait.project_id, run.project_id);
comment on view report.wait_and_run_percentiles is 'How long attempts waited for a runner and how long they ran, by the day (UTC) they ended. Percentiles are right to within 5 %, means exactly. It outlives the jobs; see report.freshness.';
comment on column report.wait_and_run_percentiles.wait_p95_sec is 'Nineteen of twenty attempts were claimed within so many seconds of being due.';

create view report.runner_utilisation with (security_barrier) as
with session as (
    select host, instance, slots, started_at, coalesce(ended_at, least(lease_expires_at, now())) as ended_at from public.runner
), present as (
    select hour, host, instance,
           sum(slots * extract(epoch from least(ended_at, hour + interval '1 hour') - greatest(started_at, hour))) as slot_sec
      from session,
           generate_series(date_trunc('hour', started_at), ended_at - interval '1 microsecond', interval '1 hour') as hour
     group by hour, host, instance
)
select present.hour, present.host, present.instance as runner, present.slot_sec::double precision as slot_sec,
       coalesce(rollup_runner.attempts, 0)::bigint as attempts, coalesce(rollup_runner.seconds, 0) as busy_sec,
       coalesce(rollup_runner.seconds, 0) / nullif(present.slot_sec, 0)::double precision as utilisation
  from present
  left join public.rollup_runner using (hour, host, instance)
 where (select report.visible_projects()) is null;
comment on view report.runner_utilisation is 'How much of its slots each runner used, by hour, as far back as its sessions are kept. Only who sees every project sees it; see report.freshness.';
comment on column report.runner_utilisation.slot_sec is 'Seconds its slots were there.';
comment on column report.runner_utilisation.busy_sec is 'Seconds of the hour that attempts ran. One that still runs is counted when it has ended.';

create view report.webhook_deliveries with (security_barrier) as
select delivery_id, direction, (select alias from public.project where id = told.project_id) as project, job_id, hook, peer, state,
       attempts, created_at, finished_at, last_status, reason
  from (select id as delivery_id, 'out' as direction, project_id, job_id, null as hook, authority as peer, state, attempts, created_at,
               finished_at, last_status::integer as last_status, last_reason as reason
          from public.delivery
         union all
        select hook_delivery.id, 'in', hook.project_id, hook_delivery.job_id, hook.name, hook.provider, hook_delivery.outcome, 1,
               hook_delivery.received_at, hook_delivery.received_at, null, hook_delivery.reason
          from public.hook_delivery join public.hook on hook.id = hook_delivery.hook_id) as told
 where (select report.visible_projects()) is null or project_id = any ((select report.visible_projects())::uuid[]);
comment on view report.webhook_deliveries is 'Callbacks that went out and events that came in at hooks, as far back as they are kept.';
comment on column report.webhook_deliveries.direction is 'out: a job''s end was told to its callback_url. in: an event came in at a hook.';
comment on column report.webhook_deliveries.peer is 'Host and port of the receiver, or the provider of the hook.';
comment on column report.webhook_deliveries.state is 'out: pending, delivered or dead. in: accepted, repeated, ignored, ping, paused, refused or failed.';
comment on column report.webhook_deliveries.attempts is 'How often it was tried.';

create view report.audit with (security_barrier) as
select event.id as event_id, event.at, (select alias from public.project where id = event.project_id) as project,
       event.job_id, event.attempt, event.kind, event.actor, event.detail
  from public.event
 where (select report.visible_projects()) is null or event.project_id = any ((select report.visible_projects())::uuid[])
 order by event.id desc;
comment on view report.audit is 'Every change of a job''s state and every act of an operator, in order of event_id.';
comment on column report.audit.actor is 'Who did it: token:<name>, schedule:<name>, runner:<session>, scheduler or cli.';

create view report.freshness with (security_barrier) as
select rollup.name, rollup.rolled_at, rollup.done as last_event_id,
       (select count(*) from (select from public.event where event.id > rollup.done limit 100000) as behind) as events_behind
  from public.rollup;
comment on view report.freshness is 'How far the views by day and by hour have come: usually seconds. Schedulers move them.';
comment on column report.freshness.events_behind is 'Events that are not added up yet, counted up to 100000.';
