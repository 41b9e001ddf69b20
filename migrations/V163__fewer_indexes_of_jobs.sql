-- What is left to those who go without: a binary from before this file reads the list of a project, or of what succeeded,
-- among all jobs, and so does whoever removes a project, which is rare.
drop index job_of_project;
drop index job_of_state;
