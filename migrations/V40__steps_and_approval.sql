-- What the end of a step leads to, and jobs that wait for somebody's word.
--
-- Checks are widened as `not valid` and validated in the next file, so that no lock lasts long.

alter table step
    add column verdict text,
    drop constraint status_is_known,
    drop constraint code_iff_not_succeeded,
    add constraint status_is_known
        check (status in ('succeeded', 'failed', 'cancelled', 'interrupted', 'skipped')) not valid,
    add constraint code_iff_not_succeeded check ((status in ('succeeded', 'skipped')) = (code is null)) not valid,
    add constraint verdict_is_known
        check (verdict in ('retry', 'continue', 'ask_human', 'stop') or verdict like 'goto:%') not valid,
    add constraint only_a_failure_needs_a_verdict check (verdict is null or status = 'failed') not valid;
comment on column step.verdict is
    'What its failure led to: retry, continue, goto:<step_id>, ask_human or stop. With step_position it is all an attempt needs to go on.';

alter table job add column retried_after integer not null default 0;
comment on column job.retried_after is
    'The last attempt before somebody retried the job: what failed, and how often it went in circles, counts from there.';

alter table attempt
    drop constraint outcome_is_known,
    add constraint outcome_is_known check
        (outcome in ('succeeded', 'failed', 'cancelled', 'retried', 'handed_back', 'lost', 'awaiting_approval')) not valid;

-- One row a question. An attempt ends by asking, so it asks at most once.
create table approval (
    job_id      uuid not null references job on delete cascade,
    attempt     integer not null,
    position    smallint not null,
    question    text not null,
    asked_at    timestamptz not null default now(),
    decided_at  timestamptz,
    decision    text,
    decided_by  text,
    comment     text,
    prompt      text,
    primary key (job_id, attempt),
    constraint decision_is_known check (decision in ('approved', 'skipped', 'rejected')),
    constraint decided_by_somebody_at_some_time
        check ((decision is null) = (decided_at is null) and (decision is null) = (decided_by is null)),
    constraint only_what_goes_on_has_a_prompt check (prompt is null or decision = 'approved'),
    constraint comment_is_short check (char_length(comment) <= 5000)
);
comment on table approval is 'What somebody was asked before a step, and what they said.';
comment on column approval.attempt is 'The attempt that asked, and ended by it.';
comment on column approval.position is 'Index in the specification of the step that waits.';
comment on column approval.decision is 'approved: the step runs; skipped: the job goes on behind it; rejected: the job fails.';
comment on column approval.prompt is 'What the step''s agent is asked instead, when whoever approved said so.';

-- What an agent said and used. A command has no such row.
create table step_usage (
    job_id         uuid not null references job on delete cascade,
    attempt        integer not null,
    ordinal        smallint not null,
    agent          text not null,
    simulated      boolean not null,
    report         text not null,
    session_id     text,
    input_tokens   bigint,
    output_tokens  bigint,
    cached_tokens  bigint,
    cost_usd       numeric(14, 6),
    primary key (job_id, attempt, ordinal),
    constraint tokens_are_counted
        check (coalesce(input_tokens, 0) >= 0 and coalesce(output_tokens, 0) >= 0 and coalesce(cached_tokens, 0) >= 0),
    constraint cost_is_no_income check (cost_usd >= 0),
    constraint a_simulation_costs_nothing
        check (not simulated or (input_tokens is null and output_tokens is null and cached_tokens is null and cost_usd is null))
);
comment on table step_usage is 'What an agent said in a step, and what it says it used; null is unknown.';
comment on column step_usage.report is 'The agent''s last words.';
comment on column step_usage.simulated is 'The agent was not run: ENABLE_REAL_CLI was 0, or it is the agent simulate.';
comment on column step_usage.cached_tokens is 'Tokens of the input that came out of a cache.';

-- A job that has a limit goes from its approval to its gate first.
drop trigger job_takes_only_legal_ways on job;
create trigger job_takes_only_legal_ways before update of state, attempt on job for each row
    when (not (
        new.attempt = old.attempt + case when new.state = 'running' and old.state <> 'running' then 1 else 0 end
        and (new.state = old.state
             or (old.state = 'blocked' and new.state in ('scheduled', 'available', 'cancelled'))
             or (old.state = 'scheduled' and new.state in ('available', 'cancelled'))
             or (old.state = 'available' and new.state in ('running', 'cancelled'))
             or (old.state = 'running' and new.state <> 'blocked')
             or (old.state = 'awaiting_approval' and new.state in ('scheduled', 'available', 'failed', 'cancelled'))
             or (old.state in ('failed', 'cancelled') and new.state in ('scheduled', 'available')))))
    execute function refuse_job_state();
