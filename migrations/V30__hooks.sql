-- Hooks: who may send events here, which of them make a job, and what came of each.

create table hook (
    id               uuid primary key,
    project_id       uuid not null references project,
    name             text not null,
    provider         text not null,
    enabled          boolean not null default true,
    -- options, filter and template, as the administrator wrote them
    spec             jsonb not null,
    -- sealed with a key that is not in the database; see src/domain/seal.rs
    secret           bytea not null,
    old_secret       bytea,
    old_secret_until timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    constraint hook_name_is_unique unique (name),
    constraint name_is_a_name check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    constraint provider_is_known check (provider in ('github', 'gitlab', 'stripe', 'standard', 'hmac', 'bearer')),
    constraint spec_is_an_object check (jsonb_typeof(spec) = 'object'),
    constraint old_secret_has_an_end check ((old_secret is null) = (old_secret_until is null))
);
create index hook_of_project on hook (project_id, id);
comment on table hook is 'An address events are sent to, whose they are, and the job they make.';
comment on column hook.secret is 'What the sender signs with, sealed: useless without SECRETS_KEY.';
comment on column hook.old_secret_until is 'Until then the secret before this one is taken as well.';
comment on column hook.updated_at is 'Moves with every change; also the version of the row (ETag).';

-- Everything that came in, also what made no job. What was sent is not kept: it may hold anything.
create table hook_delivery (
    id           uuid primary key,
    hook_id      uuid not null references hook on delete cascade,
    received_at  timestamptz not null default now(),
    sender_id    text,
    event        text,
    body_bytes   integer not null,
    outcome      text not null,
    reason       text,
    job_id       uuid,
    constraint outcome_is_known check (outcome in ('accepted', 'repeated', 'ignored', 'ping', 'paused', 'refused', 'failed')),
    constraint job_iff_taken check ((outcome in ('accepted', 'repeated')) = (job_id is not null)),
    constraint reason_iff_no_job check ((outcome in ('ignored', 'refused', 'failed')) = (reason is not null)),
    constraint body_is_not_negative check (body_bytes >= 0)
);
-- The promise: one job for each id of the sender's.
create unique index hook_delivery_makes_one_job on hook_delivery (hook_id, sender_id) where outcome = 'accepted' and sender_id is not null;
create index hook_delivery_of_hook on hook_delivery (hook_id, id desc);
-- Whoever knows the address can be refused; how often that is written down is bounded by looking here.
create index hook_delivery_refused on hook_delivery (hook_id, received_at) where outcome = 'refused';
create index hook_delivery_by_age on hook_delivery (received_at);
comment on table hook_delivery is 'An event that came in at a hook, and what was made of it.';
comment on column hook_delivery.sender_id is 'The sender''s id of the delivery; what comes again under it is answered with the first job.';
comment on column hook_delivery.outcome is
    'accepted: made a job. repeated: its job was there. ignored: the filter said no. ping: answered. paused: the hook is. refused: the signature is not good. failed: no job could be made of it.';
comment on column hook_delivery.job_id is 'The job; it may have been deleted since.';
