-- What jobs leave behind, and what they work on.

-- One row an artifact; its bytes lie where the operator keeps them (ARTIFACTS_ROOT). A step that runs again
-- replaces what it left before. Rows and bytes go together when they are past their time.
create table artifact (
    job_id      uuid not null references job on delete cascade,
    path        text not null,
    attempt     integer not null,
    ordinal     smallint,
    size        bigint not null,
    sha256      bytea not null,
    media_type  text not null,
    created_at  timestamptz not null default now(),
    primary key (job_id, path),
    constraint path_leads_nowhere_else check
        (path ~ '^[0-9A-Za-z][0-9A-Za-z._-]*(/[0-9A-Za-z][0-9A-Za-z._-]*){0,3}$' and char_length(path) <= 255),
    constraint size_is_not_negative check (size >= 0),
    constraint hash_is_sha256 check (octet_length(sha256) = 32),
    constraint attempt_is_positive check (attempt > 0)
);
comment on table artifact is 'A file a job left behind: ARTIFACTS_ROOT/<job_id>/<path>.';
comment on column artifact.attempt is 'The attempt that left it.';
comment on column artifact.ordinal is 'The step of the attempt that left it, as step.ordinal; null when it is the job''s.';
comment on column artifact.size is 'Bytes.';
comment on column artifact.sha256 is 'Of its bytes; as hexadecimal it is the ETag of the download.';

-- What a job's workspace was made from, so that it can be made again when it is gone.
create table workspace (
    job_id      uuid primary key references job on delete cascade,
    host        text not null,
    kind        text not null,
    base        text not null,
    made_at     timestamptz not null default now(),
    forgotten_at timestamptz,
    constraint kind_is_known check (kind in ('empty', 'copy', 'clone'))
);
comment on table workspace is 'What a job''s workspace was made from, and where it is.';
comment on column workspace.host is 'The host that has it; one that is left on another is stale.';
comment on column workspace.kind is 'Whether the project''s directory was empty, copied, or a repository that was cloned.';
comment on column workspace.base is 'The commit it began as, which patches are against; of a copy the commit that stands for its files; empty when there was nothing.';
comment on column workspace.forgotten_at is 'When the patches of its steps were deleted, so that it cannot be made again.';
