//! What is true without a database: names, states, rules, and the arithmetic of time.
//!
//! Nothing here waits, reads a clock or knows PostgreSQL or HTTP; everything can be tested by calling it.

pub mod address;
pub mod agent;
pub mod ansi;
pub mod approval;
pub mod attempt;
pub mod budget;
pub mod callback;
pub mod clock;
pub mod environment;
pub mod flow;
pub mod hook;
pub mod id;
pub mod job;
pub mod name;
pub mod page;
pub mod policy;
pub mod problem;
pub mod project;
pub mod prompt;
pub mod result;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod seal;
pub mod signature;
pub mod spec;
pub mod token;
pub mod trace;
pub mod usage;
