-- The trace a job belongs to, as whoever asked for it said in the header `traceparent`; the job's steps and
-- its callback carry it on.
--
-- A constraint that need not hold for older rows reads none of them.
alter table job_spec
    add column traceparent text,
    add constraint traceparent_is_one check (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$') not valid;
comment on column job_spec.traceparent is 'Where in whose trace (W3C Trace Context) the job was asked for.';
