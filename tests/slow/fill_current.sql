-- What the first schema did not have, beside the million jobs of fill.sql: schedules that made them, callbacks about a third of them,
-- events that came in for another third.
insert into schedule (id, project_id, name, expression, spec, next_due_at, fire_at)
select gen_random_uuid(), project.id, case n when 1 then 'nightly' else 'schedule-' || n end, '* * * * *', '{}', now() + interval '1 hour', now() + interval '1 hour'
  from generate_series(1, 100) as n, project where alias = 'demo';
insert into hook (id, project_id, name, provider, spec, secret)
select gen_random_uuid(), id, 'push-' || alias, 'github', '{}', '' from project;
create temporary table numbered as
select id, project_id, state, created_at, finished_at, row_number() over (order by id) as n from job where state in ('succeeded', 'failed') limit 1000000;
analyze numbered;
insert into occurrence (schedule_id, due_at, fire_at, decided_at, decision, reason, detail, job_id, outcome)
select made.id, created_at, created_at, created_at, 'fired', 'on_time', 'Released on time.', numbered.id, numbered.state::text
  from numbered join (select id, row_number() over (order by name) as place from schedule) as made on made.place = numbered.n % 100 + 1;
insert into delivery (id, project_id, job_id, url, authority, body, state, tries, attempts, created_at, finished_at, last_status, last_reason)
select gen_random_uuid(), project_id, id, 'https://ci.example.com/done', 'ci.example.com:443', repeat('x', 300),
       case when n % 3000 = 0 then 'dead' else 'delivered' end, 1, 1, finished_at, finished_at, 200, case when n % 3000 = 0 then 'answered with 503' end
  from numbered where n % 3 = 0;
insert into hook_delivery (id, hook_id, received_at, sender_id, event, body_bytes, outcome, job_id)
select gen_random_uuid(), hook.id, numbered.created_at, numbered.id::text, 'push', 1000, 'accepted', numbered.id
  from numbered join hook using (project_id) where n % 3 = 1;
drop table numbered;
