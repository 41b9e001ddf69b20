-- Validates what V40 added without looking at old rows; this reads them and locks nobody out.

alter table step validate constraint status_is_known;
alter table step validate constraint code_iff_not_succeeded;
alter table step validate constraint verdict_is_known;
alter table step validate constraint only_a_failure_needs_a_verdict;
alter table attempt validate constraint outcome_is_known;
