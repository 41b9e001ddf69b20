-- Added in V172; reading all jobs locks nobody out.
alter table job validate constraint claimed_while_running;
