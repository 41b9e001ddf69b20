-- Requests that came with an Idempotency-Key and what was answered, so that a repeat does nothing and is
-- answered alike. The two entrances for jobs do without: there the key is the job's own (`job_key`).

create table idempotent_request (
    token_id      uuid not null references token on delete cascade,
    key           text not null,
    -- SHA-256 of method, address and body, to tell a repeat from another request under the same key
    request_hash  bytea not null,
    begun_at      timestamptz not null default now(),
    status        smallint,
    headers       jsonb,
    body          bytea,
    primary key (token_id, key),
    constraint key_is_short check (char_length(key) between 1 and 255),
    constraint request_hash_is_sha256 check (octet_length(request_hash) = 32),
    constraint only_success_is_kept check (status between 200 and 299),
    constraint answer_is_whole check ((status is null) = (body is null) and (status is null) = (headers is null))
);
create index idempotent_request_by_age on idempotent_request (begun_at);
comment on table idempotent_request is 'Answers to requests with an Idempotency-Key, kept for a day; never a secret.';
comment on column idempotent_request.status is 'Null while the request is being answered, and for ever if the server went away meanwhile.';
