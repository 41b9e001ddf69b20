-- The queue: work, who runs it, and what came of it.

create type job_state as enum (
    'blocked', 'scheduled', 'available', 'running', 'awaiting_approval',
    'succeeded', 'failed', 'cancelled'
);

-- One row a process that claims, one new row each time such a process starts.
--
-- The lease is the runner's, not the job's: one small update renews every job it holds. A session
-- whose lease has passed is never renewed, so what it held is safe to give to another.
create table runner (
    id                uuid primary key,
    instance          text not null,
    host              text not null,
    pid               integer not null,
    version           text not null,
    slots             integer not null,
    queues            text[] not null,
    labels            text[] not null default '{}',
    started_at        timestamptz not null default now(),
    renewed_at        timestamptz not null default now(),
    lease_expires_at  timestamptz not null,
    drain_asked_at    timestamptz,
    ended_at          timestamptz,
    constraint slots_are_positive check (slots between 1 and 10000),
    constraint queues_are_named check (cardinality(queues) > 0)
);
comment on table runner is 'A session of a runner process; a restarted runner is a new row.';
comment on column runner.labels is 'What the host has; a job that runs_on one of them is claimed by such a runner only.';
comment on column runner.lease_expires_at is 'When other runners may take over what this session holds, by the database''s clock.';
comment on column runner.drain_asked_at is 'Set by an operator: the session claims nothing more and ends when its steps have.';
create index runner_by_lease on runner (lease_expires_at) where ended_at is null;

-- A queue exists by being named; a row is needed only to say something about it.
create table queue (
    name       text primary key,
    paused_at  timestamptz,
    constraint name_is_a_name check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$')
);
comment on table queue is 'What operators said about a queue; one without a row is open.';
comment on column queue.paused_at is 'Set: nothing of this queue is claimed. What runs goes on.';

-- Work to be done, one row a job, and the unit of claiming; its tries are rows of `attempt`.
--
-- A running job is leased, not owned: when its runner's lease passes, another runner may claim it
-- with the next attempt number, and writes that carry the old number match no row. The row stays
-- narrow because claim and settle rewrite it; what never changes lives in `job_spec`.
create table job (
    id             uuid primary key,
    project_id     uuid not null references project,
    queue          text not null,
    runs_on        text not null default '',
    state          job_state not null,
    priority       smallint not null,
    run_at         timestamptz not null,
    attempt        integer not null default 0,
    losses         smallint not null default 0,
    max_attempts   smallint not null,
    step_position  smallint not null default 0,
    step_retries   smallint not null default 0,
    needed         boolean not null default false,
    gate           text,
    project_limited boolean not null default false,
    concurrency_key text,
    concurrency_limit smallint,
    unique_key     text,
    runner_id      uuid references runner,
    claimed_at     timestamptz,
    created_at     timestamptz not null default now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    cancel_asked_at timestamptz,
    code           text,
    message        text,
    constraint runner_iff_running check ((state = 'running') = (runner_id is not null)),
    constraint claimed_iff_running check ((state = 'running') = (claimed_at is not null)),
    constraint finished_iff_terminal check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
    constraint code_iff_failed_or_cancelled check ((state in ('failed', 'cancelled')) = (code is not null)),
    constraint attempted_once_started check ((attempt > 0) = (started_at is not null)),
    constraint running_has_an_attempt check (state <> 'running' or attempt > 0),
    constraint attempt_is_not_negative check (attempt >= 0),
    constraint losses_are_attempts check (losses between 0 and attempt),
    constraint max_attempts_is_bounded check (max_attempts between 1 and 100),
    constraint priority_is_bounded check (priority between -100 and 100),
    constraint step_position_is_an_index check (step_position >= 0),
    constraint step_retries_are_not_negative check (step_retries >= 0),
    constraint gate_is_known check (gate in ('key', 'project')),
    constraint only_scheduled_waits_at_a_gate check (gate is null or state = 'scheduled'),
    constraint only_a_keyed_job_waits_for_its_key check (gate is distinct from 'key' or concurrency_key is not null),
    constraint key_and_limit_go_together check ((concurrency_key is null) = (concurrency_limit is null)),
    constraint concurrency_limit_is_positive check (concurrency_limit > 0),
    constraint label_is_a_name check (runs_on = '' or runs_on ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    constraint queue_is_a_name check (queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$')
)
-- Claim and settle each leave a dead row behind; vacuum often and a little, or the claim walks
-- over them. Page-level room lets an update stay on its page when no index moves.
with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
      autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02);
comment on table job is 'A unit of work and of claiming: a goal, ordered steps, one workspace.';
comment on column job.attempt is 'How often the job was claimed; the current number is the fence every write of a runner carries.';
comment on column job.losses is 'Attempts that ended because the runner vanished; at max_attempts the job fails with code lost.';
comment on column job.step_position is 'Index in the specification of the step that runs, or runs next.';
comment on column job.runs_on is 'Label a runner must have to claim it; empty for any runner.';
comment on column job.step_retries is 'How often the step at step_position was tried again.';
comment on column job.needed is 'Jobs that need this one have not yet heard how it ended.';
comment on column job.gate is 'What a due job waits for: room under its concurrency key, or under its project''s max_running.';
comment on column job.project_limited is 'Counts against its project''s max_running.';
comment on column job.unique_key is 'At most one job of a project that has not ended holds a key.';
comment on column job.run_at is 'Not before this time, by the database''s clock.';
comment on column job.code is 'Stable reason why a job failed or was cancelled.';

-- The claim reads this index in order and stops at its limit; nothing else is in it.
create index job_to_claim on job (queue, runs_on, priority desc, run_at, id) where state = 'available';
create index job_to_promote on job (run_at) where state = 'scheduled' and gate is null;
-- Due jobs that wait for room, and those that take it up. A job without limits is in none of them.
create index job_at_key_gate on job (project_id, concurrency_key, priority desc, run_at, id)
    where state = 'scheduled' and gate = 'key';
create index job_at_project_gate on job (project_id, priority desc, run_at, id)
    where state = 'scheduled' and gate = 'project';
create index job_holding_key on job (project_id, concurrency_key)
    where concurrency_key is not null and (state in ('available', 'running') or gate = 'project');
create index job_holding_project on job (project_id) where project_limited and state in ('available', 'running');
create unique index job_unique_key_is_held_once on job (project_id, unique_key)
    where unique_key is not null and state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval');
create index job_needed_and_ended on job (id) where needed and state in ('succeeded', 'failed', 'cancelled');
create index job_held_by_runner on job (runner_id) where state = 'running';
-- Lists are read newest first; ids are UUIDv7, so their order is the order of creation.
create index job_of_project on job (project_id, id desc);
create index job_of_state on job (state, id desc);

-- Whoever writes it, a job takes only these ways. The condition is evaluated without calling anything;
-- the function is reached only to refuse.
create function refuse_job_state() returns trigger language plpgsql as $$
begin
    raise exception 'job % cannot go from % (attempt %) to % (attempt %)', old.id, old.state, old.attempt, new.state, new.attempt
        using errcode = 'check_violation', constraint = 'job_takes_only_legal_ways', table = 'job';
end $$;
create trigger job_takes_only_legal_ways before update of state, attempt on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and (new.state = old.state
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state <> 'blocked')
             or (old.state = 'awaiting_approval' and new.state in ('available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('scheduled', 'available')))))
    execute function refuse_job_state();

-- Which jobs must succeed first. Its rows are made with the job, so there is no cycle.
create table job_need (
    job_id    uuid not null references job on delete cascade,
    needs_id  uuid not null references job on delete cascade,
    primary key (job_id, needs_id),
    constraint no_job_needs_itself check (job_id <> needs_id)
);
create index job_need_by_needed on job_need (needs_id);
comment on table job_need is 'A job waits, blocked, until every job it needs has succeeded; it is cancelled when one of them ends otherwise.';

-- What was asked for, word for word. Written once, with the job.
create table job_spec (
    job_id           uuid primary key references job on delete cascade,
    spec             jsonb not null,
    -- SHA-256 of the request, to tell a repeat from another request under the same key
    request_hash     bytea not null,
    constraint request_hash_is_sha256 check (octet_length(request_hash) = 32),
    constraint spec_is_an_object check (jsonb_typeof(spec) = 'object')
);
comment on table job_spec is 'The job specification, as validated when it was accepted.';

-- Keys live beside the jobs, so that a job without one costs nothing here.
create table job_key (
    project_id  uuid not null references project,
    key         text not null,
    job_id      uuid not null references job on delete cascade,
    primary key (project_id, key),
    constraint key_is_short check (char_length(key) between 1 and 255)
);
create index job_key_by_job on job_key (job_id);
comment on table job_key is 'Idempotency keys: a repeated request under the same key is answered with the first job.';

-- Written once, when the attempt ends; the attempt that runs is the job row itself.
create table attempt (
    job_id      uuid not null references job on delete cascade,
    number      integer not null,
    runner_id   uuid not null,
    started_at  timestamptz not null,
    ended_at    timestamptz not null,
    outcome     text not null,
    code        text,
    primary key (job_id, number),
    constraint number_is_positive check (number > 0),
    constraint ends_after_it_starts check (ended_at >= started_at),
    constraint outcome_is_known check (outcome in ('succeeded', 'failed', 'cancelled', 'retried', 'handed_back', 'lost'))
);
comment on table attempt is 'One claim of a job by one runner, ended; the running attempt is in job.';

-- Written once, when the step ends.
create table step (
    job_id        uuid not null references job on delete cascade,
    attempt       integer not null,
    ordinal       smallint not null,
    position      smallint not null,
    step_id       text not null,
    agent         text not null,
    status        text not null,
    code          text,
    message       text,
    exit_code     integer,
    signal        integer,
    started_at    timestamptz not null,
    finished_at   timestamptz not null,
    output_bytes  bigint not null default 0,
    primary key (job_id, attempt, ordinal),
    constraint status_is_known check (status in ('succeeded', 'failed', 'cancelled', 'interrupted')),
    constraint code_iff_not_succeeded check ((status = 'succeeded') = (code is null)),
    constraint finishes_after_it_starts check (finished_at >= started_at),
    constraint output_is_not_negative check (output_bytes >= 0)
);
comment on table step is 'A step that ended, in the attempt that ran it.';
comment on column step.ordinal is 'Order of the step''s end within its attempt, from 0.';
comment on column step.position is 'Index of the step in the specification, from 0.';

-- What steps print, in the order it was read. A chunk is one or more lines of one stream.
create table log (
    job_id    uuid not null references job on delete cascade,
    attempt   integer not null,
    seq       integer not null,
    position  smallint not null,
    stream    text not null,
    at        timestamptz not null,
    body      text not null,
    primary key (job_id, attempt, seq),
    constraint stream_is_known check (stream in ('stdout', 'stderr', 'system'))
);
comment on table log is 'Output of steps in order of (attempt, seq); system lines are the runner''s own.';

-- Append-only audit log. It outlives what it speaks of, so it references nothing.
create table event (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    project_id  uuid,
    job_id      uuid,
    attempt     integer,
    kind        text not null,
    actor       text not null,
    detail      jsonb
);
create index event_of_job on event (job_id, id) where job_id is not null;
comment on table event is 'Append-only audit log: every change of a job''s state and every act of an operator.';
comment on column event.actor is 'Who did it: token:<name>, schedule:<name>, runner:<instance>, scheduler or cli.';
