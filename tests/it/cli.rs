//! The command line as a person meets it: the program as a process.

mod administer;
mod cancel;
mod commands;
mod dev;
mod doctor;
mod hook;
mod schedule;
mod services;
mod waiting;
