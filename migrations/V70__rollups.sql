-- What reports are made of once the rows themselves are many, or gone.
--
-- Schedulers add up what ended, in the order of the audit log: every end is written there once. How far
-- they came is one row, moved in the transaction that adds, so a crash adds nothing and doubles nothing.

-- When the attempt was due: with its start, how long it waited. The job's own run_at moves on with a retry.
alter table attempt add column due_at timestamptz;
comment on column attempt.due_at is 'When the attempt could have begun; null for attempts of releases that did not write it.';

create table rollup (
    name       text primary key,
    done       bigint not null default 0,
    seen       bigint not null default 0,
    writers    text[] not null default '{}',
    rolled_at  timestamptz,
    constraint name_is_known check (name in ('event')),
    constraint done_is_seen check (done <= seen)
);
comment on table rollup is 'How far rows were added up for reports.';
comment on column rollup.done is 'Every event up to this id is added up.';
comment on column rollup.seen is 'No event up to this id can still appear once every transaction in writers has ended.';
comment on column rollup.writers is 'Virtual transactions that wrote events when seen was read.';
insert into rollup (name) values ('event');

-- An end with its reason, or `submitted`.
create table rollup_job (
    day         date not null,
    project_id  uuid not null,
    queue       text not null,
    what        text not null,
    code        text not null default '',
    jobs        bigint not null,
    primary key (day, project_id, queue, what, code),
    constraint what_is_known check (what in ('submitted', 'succeeded', 'failed', 'cancelled'))
);
comment on table rollup_job is 'Jobs that came in and jobs that ended, by day (UTC).';

-- Times as a histogram: percentiles cannot be added, counts can. A bucket is a tenth wider than the last,
-- so what is read from it is right to within 5 %.
create table rollup_time (
    day         date not null,
    project_id  uuid not null,
    queue       text not null,
    measure     text not null,
    bucket      smallint not null,
    attempts    bigint not null,
    seconds     double precision not null,
    primary key (day, project_id, queue, measure, bucket),
    constraint measure_is_known check (measure in ('wait', 'run'))
);
comment on table rollup_time is 'How long attempts waited and ran, by day (UTC): bucket n holds times of up to 1.1^n milliseconds.';

create table rollup_runner (
    hour      timestamptz not null,
    host      text not null,
    instance  text not null,
    attempts  bigint not null,
    seconds   double precision not null,
    primary key (hour, host, instance)
);
comment on table rollup_runner is 'How many seconds attempts that ended ran on each runner, by hour; attempts are counted in the hour they ended in.';

create table rollup_step (
    day         date not null,
    project_id  uuid not null,
    agent       text not null,
    steps       bigint not null,
    failed      bigint not null,
    seconds     double precision not null,
    primary key (day, project_id, agent)
);
comment on table rollup_step is 'Steps that ended, by day (UTC) and agent.';

-- Which projects a role that reads reports sees. A list of ids and no reference: a project that is
-- deleted must not make its reader see everything.
create table reader (
    role_name    text primary key,
    project_ids  uuid[] not null
);
comment on table reader is 'Roles that see only some projects in the views of schema report; a role without a row sees all.';
