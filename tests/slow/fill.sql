-- A million jobs that ended over thirty days, with all their rows, in the schema of the first files (V3).
insert into project (id, alias, directory) values ('01980000-0000-7000-8000-0000000000aa', 'demo', '/srv/demo'),
                                                  ('01980000-0000-7000-8000-0000000000ab', 'acme', '/srv/acme');
insert into runner (id, instance, host, pid, version, slots, queues, started_at, lease_expires_at, ended_at)
select ('01980000-0000-7000-8000-00000000010' || n)::uuid, n::text, 'alpha', n, '0', 4, '{default}', now() - interval '30 days', now(), now()
  from generate_series(1, 4) as n;
insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at, code)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
       case when n % 2 = 0 then '01980000-0000-7000-8000-0000000000aa' else '01980000-0000-7000-8000-0000000000ab' end::uuid,
       'queue-' || n % 3, (case when n % 10 = 0 then 'failed' else 'succeeded' end)::job_state, 0, at, 3, 1, at, at + interval '1 second',
       at + interval '1 second' * (2 + n % 100), case when n % 10 = 0 then 'exit_nonzero' end
  from (select n, now() - interval '30 days' * (1.001 - n / 1000000.0) as at from generate_series(1, 1000000) as n) as made;
insert into job_spec select id, '{"goal": "g", "project_id": "demo", "steps": [{"step_id": "a", "argv": ["true"]}]}', sha256('') from job;
insert into attempt (job_id, number, runner_id, started_at, ended_at, outcome, code)
select id, 1, ('01980000-0000-7000-8000-00000000010' || 1 + get_byte(uuid_send(id), 15) % 4)::uuid, started_at, finished_at,
       case state when 'failed' then 'failed' else 'succeeded' end, code from job;
insert into step (job_id, attempt, ordinal, position, step_id, agent, status, code, started_at, finished_at)
select id, 1, 0, 0, 'a', 'command', case state when 'failed' then 'failed' else 'succeeded' end, code, started_at, finished_at from job;
insert into log (job_id, attempt, seq, position, stream, at, body) select id, 1, 0, 0, 'stdout', started_at, 'hello' from job;
insert into event (at, project_id, job_id, attempt, kind, actor)
select at, project_id, id, attempt, kind, actor from (
    select created_at as at, project_id, id, null::int as attempt, 'job.submitted' as kind, 'token:t' as actor from job
     union all
    select started_at, project_id, id, 1, 'job.running', 'runner:1' from job
     union all
    select finished_at, project_id, id, 1, 'job.' || state, 'runner:1' from job) as happened
 order by at;
analyze;
