-- In a file of its own: validation reads the table without the lock that adding a constraint takes.
alter table project validate constraint description_is_short;
alter table project validate constraint policy_is_an_object;
