-- What a schedule does about runs that were missed, that overlap and that fail, when a run is released, and,
-- for each occurrence, the whole of what was decided and what became of it.

alter table schedule
    add column missed          text not null default 'once',
    add column missed_limit    smallint not null default 10,
    add column overlap         text not null default 'skip',
    add column jitter_sec      integer not null default 0,
    add column grace_sec       integer not null default 60,
    add column starts_at       timestamptz,
    add column ends_at         timestamptz,
    add column failure_budget  integer,
    add column failures        integer not null default 0,
    add column pause_reason    text,
    add column fire_at         timestamptz,
    -- which set of files `schedule apply` keeps it in step with; null when it was made otherwise
    add column managed_by      text,
    add column version         integer not null default 1;
update schedule set fire_at = next_due_at;
alter table schedule
    add constraint missed_is_known check (missed in ('skip', 'once', 'all')),
    add constraint missed_limit_is_bounded check (missed_limit between 1 and 1000),
    add constraint overlap_is_known check (overlap in ('allow', 'skip', 'queue_one', 'cancel_running')),
    add constraint jitter_is_at_most_a_day check (jitter_sec between 0 and 86400),
    add constraint grace_is_at_most_15_minutes check (grace_sec between 0 and 900),
    add constraint ends_after_it_starts check (ends_at > starts_at),
    add constraint failure_budget_is_positive check (failure_budget > 0),
    add constraint failures_are_not_negative check (failures >= 0),
    add constraint released_iff_due check ((fire_at is null) = (next_due_at is null)),
    add constraint released_when_due_or_later check (fire_at >= next_due_at),
    add constraint only_a_paused_one_has_a_reason check (paused_at is not null or pause_reason is null);
comment on column schedule.missed is 'What is done about runs nobody released in time: none is run, one makes up for all, or all are up to missed_limit.';
comment on column schedule.overlap is 'What is done about a run that is due while an earlier one has not ended.';
comment on column schedule.jitter_sec is 'Runs are released up to so many seconds after they are due, always the same for one schedule.';
comment on column schedule.grace_sec is 'How late a run may be released and count as on time; later, it was missed.';
comment on column schedule.failure_budget is 'Failures in a row after which it is paused; null is no limit.';
comment on column schedule.failures is 'How many runs failed since the last that succeeded, or since it was resumed.';
comment on column schedule.pause_reason is 'Why it is paused, as a sentence.';
comment on column schedule.fire_at is 'When next_due_at is released: the same, or its jitter later.';
comment on column schedule.version is 'Goes up with every change of its definition or pause; the ETag of the API.';

-- A look at what is due reads the first entry of this and stops.
create index schedule_to_release on schedule (fire_at) where paused_at is null;
drop index schedule_to_fire;

alter table occurrence
    drop constraint decision_is_known,
    drop constraint only_a_fired_one_makes_a_job,
    add column fire_at      timestamptz,
    add column origin       text not null default 'schedule',
    add column actor        text not null default 'scheduler',
    add column detail       text not null default '',
    add column last_due_at  timestamptz,
    add column stands_for   integer not null default 1,
    add column trigger_key  text,
    add column outcome      text;
alter table occurrence
    add constraint decision_is_known check (decision in ('fired', 'waiting', 'skipped')),
    add constraint only_a_fired_one_makes_a_job check (decision = 'fired' or job_id is null),
    add constraint only_a_fired_one_has_an_outcome check (decision = 'fired' or outcome is null),
    add constraint outcome_is_known check (outcome in ('succeeded', 'failed', 'cancelled')),
    add constraint origin_is_known check (origin in ('schedule', 'trigger')),
    add constraint only_a_trigger_has_a_key check (origin = 'trigger' or trigger_key is null),
    add constraint many_have_a_last_one check ((stands_for > 1) = (last_due_at is not null)),
    add constraint stands_for_something check (stands_for > 0);
comment on column occurrence.due_at is 'The instant the expression names, or when it was triggered.';
comment on column occurrence.fire_at is 'When it could first be released: due_at and the schedule''s jitter.';
comment on column occurrence.decision is 'fired: it made a job. waiting: it makes one when earlier runs have ended. skipped: it makes none.';
comment on column occurrence.reason is 'Why, as a stable word: on_time, late, triggered, missed, overlap, paused …';
comment on column occurrence.detail is 'Why, as a sentence.';
comment on column occurrence.stands_for is 'How many due instants, from due_at to last_due_at, this row stands for.';
comment on column occurrence.outcome is 'How its job ended, once the schedule has heard of it.';

-- The occurrences are upserted first and say which jobs are to be made: the job follows in the same transaction.
alter table occurrence alter constraint occurrence_job_id_fkey deferrable initially deferred;

-- What of a schedule has not ended: read by every decision about an overlap.
create index occurrence_unfinished on occurrence (schedule_id) where outcome is null and job_id is not null;
create unique index one_occurrence_waits_at_most on occurrence (schedule_id) where decision = 'waiting';
create unique index trigger_key_is_used_once on occurrence (schedule_id, trigger_key) where trigger_key is not null;

comment on column job.needed is 'Jobs that need this one, or the schedule that made it, have not yet heard how it ended.';
