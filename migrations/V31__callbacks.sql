-- Callbacks: a job's end is told where its specification says.

alter table job add column calls_back boolean not null default false;
comment on column job.calls_back is 'Its specification has a callback_url: its end makes a delivery.';

-- What callbacks of a project are signed with. While one replaces another, both sign.
create table callback_secret (
    id          uuid primary key,
    project_id  uuid not null references project on delete cascade,
    -- sealed with a key that is not in the database; see src/domain/seal.rs
    secret      bytea not null,
    created_at  timestamptz not null default now(),
    retires_at  timestamptz
);
create unique index callback_secret_is_one_a_project on callback_secret (project_id) where retires_at is null;
create index callback_secret_of_project on callback_secret (project_id, id desc);
comment on table callback_secret is 'A secret that a project''s callbacks are signed with, sealed: useless without SECRETS_KEY.';
comment on column callback_secret.retires_at is 'Set when another replaced it: until then both sign.';

-- The outbox: written with the end of the job, delivered afterwards, as often as it takes.
create table delivery (
    id           uuid primary key,
    project_id   uuid not null references project,
    job_id       uuid not null references job on delete cascade,
    url          text not null,
    -- host and port, which deliverers share out their tries by
    authority    text not null,
    -- word for word what is sent, and signed
    body         text not null,
    state        text not null default 'pending',
    -- tries since the delivery was new, or sent again by hand; and all of them, which is the fence
    tries        integer not null default 0,
    attempts     integer not null default 0,
    -- when it is tried next; of one that is being tried, when another may take it over
    due_at       timestamptz not null default now(),
    gives_up_at  timestamptz not null default now() + interval '1 day',
    created_at   timestamptz not null default now(),
    finished_at  timestamptz,
    last_status  smallint,
    last_reason  text,
    constraint state_is_known check (state in ('pending', 'delivered', 'dead')),
    constraint finished_iff_not_pending check ((state = 'pending') = (finished_at is null)),
    constraint tries_are_attempts check (tries between 0 and attempts)
)
-- Every try rewrites the row.
with (fillfactor = 80);
create index delivery_to_send on delivery (due_at) where state = 'pending';
create index delivery_of_job on delivery (job_id);
create index delivery_of_project on delivery (project_id, id desc);
create index delivery_by_age on delivery (created_at);
comment on table delivery is 'A callback: the end of a job, told to a URL.';
comment on column delivery.gives_up_at is 'What has not arrived by then is dead, and sent again only by hand.';

create table delivery_attempt (
    delivery_id  uuid not null references delivery on delete cascade,
    number       integer not null,
    started_at   timestamptz not null default now(),
    ended_at     timestamptz,
    address      text,
    status       smallint,
    reason       text,
    answer       text,
    primary key (delivery_id, number),
    constraint attempt_is_counted check (number > 0),
    constraint ends_after_it_starts check (ended_at >= started_at)
);
comment on table delivery_attempt is 'One try of a callback; one without an end was cut off with its process.';
comment on column delivery_attempt.address is 'The address that was called, resolved once and checked.';
comment on column delivery_attempt.reason is 'Why it did not arrive.';
comment on column delivery_attempt.answer is 'How the body of an answer other than 2xx begins.';

-- A UUIDv7, as the program makes them: its order is the order of creation.
create function new_id() returns uuid language sql volatile as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                    from 1 for 6),
            52, 1), 53, 1), 'hex')::uuid
$$;

-- However a job ends, and whoever writes it, its callback is written in the same statement. A job
-- without one pays for a comparison of three columns: the condition calls nothing.
create function tell_job_end() returns trigger language plpgsql as $$
begin
    insert into delivery (id, project_id, job_id, url, authority, body)
    select new_id(), new.project_id, new.id, spec ->> 'callback_url',
           coalesce(lower(substring(spec ->> 'callback_url' from '^[a-zA-Z]+:/*([^/?#]*)')), ''),
           json_build_object(
               'type', 'job.' || new.state,
               'timestamp', to_char(new.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'data', json_build_object(
                   'job_id', new.id,
                   'project_id', project.alias,
                   'state', new.state,
                   'code', new.code,
                   'message', new.message,
                   'goal', spec -> 'goal',
                   'idempotency_key', spec -> 'idempotency_key',
                   'tags', coalesce(spec -> 'tags', '[]'),
                   'metadata', case when octet_length(spec ->> 'metadata') <= 16384 then spec -> 'metadata' end,
                   'attempt', new.attempt,
                   'created_at', to_char(new.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   'started_at', to_char(new.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   'finished_at', to_char(new.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text
      from job_spec join project on project.id = new.project_id
     where job_spec.job_id = new.id and spec ->> 'callback_url' is not null;
    return null;
end $$;
create trigger job_end_is_told after update of state on job for each row
    when (new.calls_back and old.finished_at is null and new.finished_at is not null)
    execute function tell_job_end();
