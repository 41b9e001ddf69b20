-- Of the last hundred runs of each schedule: rows of one index, however long its history.
create view report.schedule_health with (security_barrier) as
select schedule.id as schedule_id,
       project.alias as project,
       schedule.name,
       schedule.expression,
       schedule.zone,
       schedule.paused_at is not null as paused,
       schedule.pause_reason,
       schedule.failures as failures_in_a_row,
       last.due_at as last_run_at,
       last.job_id as last_job_id,
       last.state as last_state,
       runs.last_success_at,
       runs.ended as runs_counted,
       runs.succeeded::numeric / nullif(runs.ended, 0) as success_rate,
       runs.typical_duration,
       case when schedule.paused_at is null then schedule.fire_at end as next_run_at,
       coalesce(schedule.paused_at is null and schedule.fire_at < now() - interval '1 minute', false) as overdue
  from schedule
  join project on project.id = schedule.project_id
  left join lateral (
       select occurrence.due_at, occurrence.job_id, coalesce(job.state::text, occurrence.outcome) as state
         from occurrence left join job on job.id = occurrence.job_id
        where occurrence.schedule_id = schedule.id and occurrence.decision = 'fired'
        order by occurrence.due_at desc
        limit 1) as last on true
  left join lateral (
       select count(*) filter (where state in ('succeeded', 'failed')) as ended,
              count(*) filter (where state = 'succeeded') as succeeded,
              max(finished_at) filter (where state = 'succeeded') as last_success_at,
              percentile_cont(0.5) within group (order by finished_at - started_at)
                  filter (where state = 'succeeded') as typical_duration
         from (select coalesce(job.state::text, occurrence.outcome) as state, job.started_at,
                      coalesce(job.finished_at, occurrence.due_at) as finished_at
                 from occurrence left join job on job.id = occurrence.job_id
                where occurrence.schedule_id = schedule.id and occurrence.decision = 'fired'
                order by occurrence.due_at desc
                limit 100) as recent) as runs on true
 where (select report.visible_projects()) is null or schedule.project_id = any ((select report.visible_projects())::uuid[]);
comment on view report.schedule_health is 'How each schedule does, by the last hundred jobs it made.';
comment on column report.schedule_health.last_run_at is 'When the last run that made a job was due.';
comment on column report.schedule_health.last_success_at is 'When the last successful run ended; of one whose job was deleted, when it was due.';
comment on column report.schedule_health.success_rate is 'Of those that succeeded or failed, from 0 to 1; null before the first ended.';
comment on column report.schedule_health.typical_duration is 'Median time from the first claim to the end of those that succeeded.';
comment on column report.schedule_health.next_run_at is 'When the next run is released; null while it is paused or when no further one comes.';
comment on column report.schedule_health.overdue is 'A run should have been released more than a minute ago and was not: no scheduler is running.';
