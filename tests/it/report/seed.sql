-- Two days of two projects with answers that can be reckoned in one's head.

insert into project (id, alias, directory) values
    ('01980000-0000-7000-8000-00000000000a', 'web', '/srv/web'),
    ('01980000-0000-7000-8000-00000000000b', 'data', '/srv/data');
insert into runner (id, instance, host, pid, version, slots, queues, started_at, renewed_at, lease_expires_at, ended_at) values
    ('01980000-0000-7000-8000-0000000000f1', 'build-1', 'alpha', 1, '0.1.0', 2, '{default,nightly}',
     '2030-01-07T09:00:00Z', '2030-01-07T12:00:00Z', '2030-01-07T12:00:00Z', '2030-01-07T12:00:00Z'),
    ('01980000-0000-7000-8000-0000000000f2', 'build-1', 'alpha', 2, '0.1.0', 2, '{default,nightly}',
     '2030-01-08T00:00:00Z', '2030-01-08T06:00:00Z', '2030-01-08T06:00:00Z', '2030-01-08T06:00:00Z');

-- 100 jobs of web on Monday, one a minute from 09:01 on. The nth waits n tenths of a second and runs n seconds;
-- the last ten fail, by turns.
create temporary table made as
select ('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, n, '01980000-0000-7000-8000-00000000000a'::uuid as project_id,
       'default' as queue, 'Build ' || n as goal, timestamptz '2030-01-07T09:00:00Z' + n * interval '1 minute' as due_at,
       n * interval '100 milliseconds' as wait, n * interval '1 second' as run, 'command' as agent,
       case when n > 90 then case when n % 2 = 0 then 'exit_nonzero' else 'timeout' end end as code,
       '01980000-0000-7000-8000-0000000000f1'::uuid as runner_id
  from generate_series(1, 100) as n;
-- 20 jobs of data on Tuesday, each an agent's that runs six minutes, four an hour from midnight on.
insert into made
select ('01980000-0000-7000-8000-' || lpad(to_hex(1000 + n), 12, '0'))::uuid, n, '01980000-0000-7000-8000-00000000000b',
       'nightly', 'Report ' || n, timestamptz '2030-01-08T00:00:00Z' + (n - 1) * interval '15 minutes',
       interval '2 seconds', interval '6 minutes', 'claude', null, '01980000-0000-7000-8000-0000000000f2'
  from generate_series(1, 20) as n;

insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at, code, message)
select id, project_id, queue, (case when code is null then 'succeeded' else 'failed' end)::job_state, 0, due_at, 3, 1, due_at,
       due_at + wait, due_at + wait + run, code, case when code is not null then 'It failed; the log says why.' end
  from made;
-- Three of data are cancelled before they ran, and two of web are waiting.
insert into job (id, project_id, queue, state, priority, run_at, max_attempts, created_at, finished_at, code, message)
select ('01980000-0000-7000-8000-' || lpad(to_hex(2000 + n), 12, '0'))::uuid, '01980000-0000-7000-8000-00000000000b', 'nightly',
       'cancelled', 0, '2030-01-08T05:00:00Z', 3, '2030-01-08T04:00:00Z', '2030-01-08T04:30:00Z', 'cancelled', 'Cancelled on request.'
  from generate_series(1, 3) as n;
insert into job (id, project_id, queue, state, priority, run_at, max_attempts, created_at)
select ('01980000-0000-7000-8000-' || lpad(to_hex(3000 + n), 12, '0'))::uuid, '01980000-0000-7000-8000-00000000000a', 'default',
       'available', 0, '2024-01-08T05:00:00Z', 3, '2024-01-08T05:00:00Z'
  from generate_series(1, 2) as n;

insert into job_spec (job_id, spec, request_hash)
select job.id, jsonb_build_object('goal', coalesce(goal, 'Later'), 'tags', '[]'::jsonb), sha256('') from job left join made using (id);
insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome, code)
select id, 1, runner_id, due_at, due_at + wait, due_at + wait + run, case when code is null then 'succeeded' else 'failed' end, code from made;
insert into step (job_id, attempt, ordinal, position, step_id, agent, status, code, message, exit_code, started_at, finished_at, output_bytes)
select id, 1, 0, 0, 'main', agent, case when code is null then 'succeeded' else 'failed' end, code, null,
       case code when 'exit_nonzero' then 2 end, due_at + wait, due_at + wait + run, 1000 * n
  from made;
-- The nth report reads 10,000 tokens, writes 1,000 and costs 5 n cents.
insert into step_usage (job_id, attempt, ordinal, agent, simulated, report, input_tokens, output_tokens, cached_tokens, cost_usd)
select id, 1, 0, agent, false, 'Done.', 10000, 1000, 8000, n * 0.05 from made where agent = 'claude';
insert into event (at, project_id, job_id, attempt, kind, actor)
select at, project_id, job_id, attempt, kind, actor from (
    select created_at as at, project_id, id as job_id, null::int as attempt, 'job.submitted' as kind,
           case queue when 'default' then 'token:github' else 'schedule:nightly' end as actor from job
     union all
    select started_at, project_id, id, 1, 'job.running', 'runner:' || made.runner_id from job join made using (id, project_id)
     union all
    select finished_at, project_id, id, 1, 'job.' || state, 'runner:' || made.runner_id from job join made using (id, project_id)
     union all
    select finished_at, project_id, id, null, 'job.cancelled', 'token:operator' from job where state = 'cancelled'
) as happened order by at, job_id, kind;
insert into event (at, kind, actor, detail)
values ('2030-01-08T07:00:00Z', 'queue.paused', 'token:operator', '{"queue": "nightly"}');
insert into queue values ('nightly', '2030-01-08T07:00:00Z');
insert into delivery (id, project_id, job_id, url, authority, body, state, tries, attempts, created_at, finished_at, last_status, last_reason)
select gen_random_uuid(), project_id, id, 'https://ci.example.com/done', 'ci.example.com:443', '{}', case n when 3 then 'dead' else 'delivered' end, n, n,
       '2030-01-08T08:00:00Z', '2030-01-08T09:00:00Z', case n when 3 then 503 else 200 end, case n when 3 then 'answered with 503' end
  from (select row_number() over (order by id) as n, id, project_id from job where queue = 'nightly' and state = 'succeeded' order by id limit 3) as told;
-- The reports' schedule: it made the first of them, passed one over because that had not ended, and waits for 2099.
insert into schedule (id, project_id, name, expression, zone, anchor, spec, next_due_at, fire_at)
values ('01980000-0000-7000-8000-0000000000e1', '01980000-0000-7000-8000-00000000000b', 'nightly', '*/15 * * * *', 'Europe/Berlin',
        '2030-01-07T00:00:00Z', '{}', '2099-01-01T00:00:00Z', '2099-01-01T00:00:00Z');
insert into occurrence (schedule_id, due_at, fire_at, decided_at, decision, reason, detail, job_id, outcome)
values ('01980000-0000-7000-8000-0000000000e1', '2030-01-08T00:00:00Z', '2030-01-08T00:00:00Z', '2030-01-08T00:00:00.1Z', 'fired', 'on_time',
        'Released on time.', '01980000-0000-7000-8000-0000000003e9', 'succeeded'),
       ('01980000-0000-7000-8000-0000000000e1', '2030-01-08T01:30:00Z', '2030-01-08T01:30:00Z', '2030-01-08T01:30:00.1Z', 'skipped', 'overlap',
        'Job 01980000-0000-7000-8000-0000000003ed of an earlier run has not ended (overlap: skip).', null, null);
