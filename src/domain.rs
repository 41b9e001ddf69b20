//! What is true without a database: values, rules and their errors.
//!
//! Nothing here opens a connection, reads a clock or starts a task; what a rule needs to know is
//! passed to it.

pub mod schedule;
