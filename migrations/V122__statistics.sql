-- The views show a job's state as text. Without statistics of that the planner takes every state for rare, and for the
-- last three failed jobs reads and sorts all there are instead of the end of an index.
create statistics job_state_text on (state::text) from job;

-- Rows of these tables come in the order of time, so that an index of a few pages finds a stretch of it: questions about a day
-- read that day. It costs writers nothing that can be measured: a range is summed up when it is full.
create index step_by_time on step using brin (started_at) with (pages_per_range = 32, autosummarize = on);
create index attempt_by_time on attempt using brin (started_at) with (pages_per_range = 32, autosummarize = on);
create index event_by_time on event using brin (at) with (pages_per_range = 32, autosummarize = on);
