-- Cron: what is due when, and what came of each due instant.

create table schedule (
    id           uuid primary key,
    project_id   uuid not null references project,
    name         text not null,
    expression   text not null,
    zone         text not null default 'UTC',
    anchor       timestamptz not null default now(),
    spec         jsonb not null,
    paused_at    timestamptz,
    next_due_at  timestamptz,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint schedule_name_is_unique unique (project_id, name),
    constraint name_is_a_name check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    constraint spec_is_an_object check (jsonb_typeof(spec) = 'object')
);
comment on table schedule is 'A cron expression with a time zone and a job template.';
comment on column schedule.anchor is 'Where the intervals of an "every" expression are counted from.';
comment on column schedule.next_due_at is 'The next instant to be decided; null when the expression has no further one.';
create index schedule_to_fire on schedule (next_due_at) where paused_at is null;

-- The key is the promise: one row, and so at most one job, for each instant of a schedule.
create table occurrence (
    schedule_id  uuid not null references schedule on delete cascade,
    due_at       timestamptz not null,
    decided_at   timestamptz not null default now(),
    decision     text not null,
    reason       text not null,
    job_id       uuid references job on delete set null,
    primary key (schedule_id, due_at),
    constraint decision_is_known check (decision in ('fired', 'skipped')),
    constraint only_a_fired_one_makes_a_job check (decision = 'fired' or job_id is null)
);
create index occurrence_of_job on occurrence (job_id) where job_id is not null;
comment on table occurrence is 'One due instant of a schedule: what was decided, why, and which job it made.';
