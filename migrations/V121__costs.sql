-- What agents cost, by day: added up with the steps, so that it outlives them.

alter table rollup_step
    add column simulated      bigint not null default 0,
    add column input_tokens   bigint not null default 0,
    add column output_tokens  bigint not null default 0,
    add column cached_tokens  bigint not null default 0,
    add column cost_usd       numeric(20, 6) not null default 0;
comment on column rollup_step.simulated is 'How many of the steps only said what an agent would have been asked.';

create view report.cost_by_agent_day with (security_barrier) as
select rollup_step.day, project.alias as project, rollup_step.agent, rollup_step.steps, rollup_step.failed, rollup_step.simulated,
       rollup_step.seconds as run_sec, rollup_step.input_tokens, rollup_step.output_tokens, rollup_step.cached_tokens, rollup_step.cost_usd
  from public.rollup_step
  left join public.project on project.id = rollup_step.project_id
 where (select report.visible_projects()) is null or rollup_step.project_id = any ((select report.visible_projects())::uuid[]);
comment on view report.cost_by_agent_day is 'What steps took and cost, by day (UTC), project and agent. It outlives the jobs; see report.freshness.';
comment on column report.cost_by_agent_day.steps is 'Steps of attempts that ended.';
comment on column report.cost_by_agent_day.simulated is 'How many of them only said what an agent would have been asked: they cost nothing.';
comment on column report.cost_by_agent_day.run_sec is 'Seconds they ran, together.';
comment on column report.cost_by_agent_day.cached_tokens is 'Those of the input tokens that came out of a cache.';
comment on column report.cost_by_agent_day.cost_usd is 'What their agents say they cost, in US dollars. An agent that does not say counts as nothing: codex, gemini and kimi do not.';

-- What a step used, beside how it ended.
create or replace view report.steps with (security_barrier) as
select step.job_id, (select project.alias from public.job join public.project on project.id = job.project_id where job.id = step.job_id) as project,
       step.attempt, step.ordinal, step.position, step.step_id, step.agent,
       step.status, step.code, step.message, step.exit_code, step.signal, step.started_at, step.finished_at,
       extract(epoch from step.finished_at - step.started_at)::double precision as ran_for_sec, step.output_bytes,
       step.logged_bytes, step.redactions, step.cpu_ms::double precision / 1000 as cpu_sec, step.peak_memory_bytes,
       (select simulated from public.step_usage as used where used.job_id = step.job_id and used.attempt = step.attempt and used.ordinal = step.ordinal) as simulated,
       (select input_tokens from public.step_usage as used where used.job_id = step.job_id and used.attempt = step.attempt and used.ordinal = step.ordinal) as input_tokens,
       (select output_tokens from public.step_usage as used where used.job_id = step.job_id and used.attempt = step.attempt and used.ordinal = step.ordinal) as output_tokens,
       (select cached_tokens from public.step_usage as used where used.job_id = step.job_id and used.attempt = step.attempt and used.ordinal = step.ordinal) as cached_tokens,
       (select cost_usd from public.step_usage as used where used.job_id = step.job_id and used.attempt = step.attempt and used.ordinal = step.ordinal) as cost_usd
  from public.step
 where (select report.visible_projects()) is null
    or exists (select from public.job where job.id = step.job_id and job.project_id = any ((select report.visible_projects())::uuid[]))
 order by step.job_id desc, step.attempt desc, step.ordinal desc;
comment on column report.steps.logged_bytes is 'How much of that was kept in the log, after redaction and the cut.';
comment on column report.steps.redactions is 'How often a secret was taken out of it.';
comment on column report.steps.cpu_sec is 'Processor time of all its processes.';
comment on column report.steps.peak_memory_bytes is 'Most memory the largest of its processes held at once.';
comment on column report.steps.simulated is 'Whether its agent was not really run; null for a command.';
comment on column report.steps.cost_usd is 'What its agent says it cost; null when it does not say.';
