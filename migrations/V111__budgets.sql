-- The administrator's word for a project, beside its host's.
alter table project
    add column sandbox boolean not null default true,
    add column max_daily_calls integer,
    add column max_daily_cost_usd numeric(12, 2);
alter table project
    add constraint daily_calls_are_not_negative check (max_daily_calls >= 0) not valid,
    add constraint daily_cost_is_not_negative check (max_daily_cost_usd >= 0) not valid;
comment on column project.sandbox is 'false: an administrator lets its steps run without a sandbox, where hosts would have one.';
comment on column project.max_daily_calls is 'Most agent calls of its jobs a day (UTC); null is no limit beside the host''s.';
comment on column project.max_daily_cost_usd is 'Most its jobs'' agents may cost a day (UTC); null is no limit beside the host''s.';

-- What was spent in a day, of a host or of a project. A call is counted before it is made, with what it may
-- cost, and corrected to what it did cost; so any number of runners together stay within the limit.
create table spending (
    day         date not null,
    scope       text not null,
    key         text not null,
    calls       integer not null,
    micro_usd   bigint not null,
    primary key (day, scope, key),
    constraint scope_is_known check (scope in ('host', 'project')),
    constraint calls_are_not_negative check (calls >= 0),
    constraint cost_is_not_negative check (micro_usd >= 0)
);
comment on table spending is 'Agent calls and what they cost, a day (UTC), of each host and project; what is under way counts with what it may cost.';
comment on column spending.key is 'The host''s name or the project''s id.';
comment on column spending.micro_usd is 'Millionths of a US dollar.';

-- Calls under way. A row that stays belongs to a runner that vanished: what it may have cost stays counted.
create table reservation (
    id          uuid primary key,
    day         date not null,
    host        text not null,
    project_id  uuid not null,
    job_id      uuid not null,
    micro_usd   bigint not null,
    made_at     timestamptz not null default now(),
    constraint cost_is_not_negative check (micro_usd >= 0)
);
create index reservation_by_day on reservation (day);
comment on table reservation is 'A call to an agent that is under way, and what of the day''s budget is held for it.';
