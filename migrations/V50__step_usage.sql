-- What a step used, as its keeper measured it: the sums are of all its processes.
--
-- Adding columns with a constant default rewrites nothing; binaries that do not know them go on writing.
alter table step
    add column cpu_ms            bigint not null default 0,
    add column peak_memory_bytes bigint not null default 0,
    add column logged_bytes      bigint not null default 0,
    add column redactions        integer not null default 0;
comment on column step.cpu_ms is 'Processor time of all its processes that were waited for, in milliseconds.';
comment on column step.peak_memory_bytes is 'Most memory the largest of its processes held at once.';
comment on column step.output_bytes is 'Bytes printed on both streams.';
comment on column step.logged_bytes is 'Bytes of that kept in the log, after redaction and the cut.';
comment on column step.redactions is 'How often a secret was taken out of what it printed.';
