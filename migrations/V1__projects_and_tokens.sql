-- Who may do what, where: aliases of source directories and the secrets that reach them.

create table project (
    id          uuid primary key,
    alias       text not null,
    directory   text not null,
    max_running smallint,
    -- where the row comes from; rows of the environment are kept in step with PROJECT_ALIASES at start
    origin      text not null default 'administrator',
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    constraint project_alias_is_unique unique (alias),
    constraint alias_is_a_name check (alias ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    constraint max_running_is_positive check (max_running > 0),
    constraint directory_is_absolute check (directory like '/%'),
    constraint origin_is_known check (origin in ('administrator', 'environment', 'dev'))
);
comment on table project is 'An alias for a source directory on the host; jobs, schedules and tokens belong to projects.';
comment on column project.max_running is 'How many of its jobs may run at once; null is no limit. Holds for jobs that come in from then on.';
comment on column project.directory is 'Absolute path on every host that runs the project''s jobs.';

-- The secret itself is never stored: 32 random base62 characters need no slow hash.
create table token (
    id             uuid primary key,
    name           text not null,
    prefix         text not null,
    hash           bytea not null,
    scopes         text[] not null,
    every_project  boolean not null default false,
    origin         text not null default 'administrator',
    created_at     timestamptz not null default now(),
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz,
    constraint token_hash_is_unique unique (hash),
    constraint hash_is_sha256 check (octet_length(hash) = 32),
    constraint name_is_short check (char_length(name) between 1 and 200),
    constraint prefix_is_no_secret check (char_length(prefix) <= 12),
    constraint scopes_are_known check (scopes <@ array['submit', 'read', 'operate', 'admin'] and cardinality(scopes) > 0),
    constraint origin_is_known check (origin in ('administrator', 'environment', 'dev'))
);
comment on table token is 'A scoped secret, stored as its SHA-256.';
comment on column token.prefix is 'The first characters of the secret, for recognition only.';
comment on column token.last_used_at is 'Written at most once a minute.';

create table token_project (
    token_id    uuid not null references token on delete cascade,
    project_id  uuid not null references project on delete cascade,
    primary key (token_id, project_id)
);
create index token_project_by_project on token_project (project_id);
comment on table token_project is 'The projects a token reaches, unless token.every_project.';
