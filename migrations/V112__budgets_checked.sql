-- In a file of its own: validation reads the table without the lock that adding a constraint takes.
alter table project validate constraint daily_calls_are_not_negative;
alter table project validate constraint daily_cost_is_not_negative;
