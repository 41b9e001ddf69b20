-- "Why did it not run at 02:30?", for people who read reports: what was decided about each instant, and what
-- nobody has decided yet, because the schedule is paused or no scheduler runs.
create view report.schedule_runs with (security_barrier) as
select project.alias as project, schedule.name, schedule.id as schedule_id,
       occurrence.due_at, coalesce(occurrence.last_due_at, occurrence.due_at) as last_due_at, occurrence.stands_for as instants,
       occurrence.decision, occurrence.reason, occurrence.detail, occurrence.origin, occurrence.actor,
       occurrence.fire_at as released_at, occurrence.decided_at, occurrence.job_id,
       coalesce(job.state::text, occurrence.outcome) as job_state
  from public.occurrence
  join public.schedule on schedule.id = occurrence.schedule_id
  join public.project on project.id = schedule.project_id
  left join public.job on job.id = occurrence.job_id
 where (select report.visible_projects()) is null or schedule.project_id = any ((select report.visible_projects())::uuid[])
 union all
select project.alias, schedule.name, schedule.id, schedule.next_due_at, now(), null,
       'undecided', case when schedule.paused_at is null then 'not_released' else 'paused' end,
       case when schedule.paused_at is null
            then 'It was to be released at ' || schedule.fire_at || ', and no scheduler has done so: is one running?'
            else 'Paused since ' || schedule.paused_at || coalesce(' (' || schedule.pause_reason || ')', '')
                 || '. What is due meanwhile is recorded when it is resumed, and not run unless that asks for it.' end,
       'schedule', 'scheduler', schedule.fire_at, null, null, null
  from public.schedule
  join public.project on project.id = schedule.project_id
 where schedule.fire_at < now()
   and ((select report.visible_projects()) is null or schedule.project_id = any ((select report.visible_projects())::uuid[]));
comment on view report.schedule_runs is 'What was decided about each instant of each schedule, why, and which job it made; and what nobody has decided yet.';
comment on column report.schedule_runs.due_at is 'The instant the expression names, or when it was triggered.';
comment on column report.schedule_runs.last_due_at is 'The last instant the row stands for; that of due_at unless it stands for many.';
comment on column report.schedule_runs.instants is 'How many due instants it stands for; null for one that is undecided.';
comment on column report.schedule_runs.decision is 'fired: it made a job. waiting: it makes one when earlier runs have ended. skipped: it makes none. undecided: it was due and no scheduler decided.';
comment on column report.schedule_runs.reason is 'Why, as a stable word; docs/SCHEDULES.md lists them.';
comment on column report.schedule_runs.detail is 'Why, as a sentence.';
comment on column report.schedule_runs.released_at is 'When it could first be released: due_at and the schedule''s jitter.';
comment on column report.schedule_runs.job_state is 'How its job is, or how it ended when the job itself has been deleted.';
