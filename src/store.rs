//! All SQL, one function a statement.
//!
//! A function that changes a job's state carries a guard in its `where` and answers with the rows it
//! changed; zero rows is an answer, not an error. Transactions begin in `app`, never here.

pub mod agent;
pub mod approval;
pub mod artifact;
pub mod attempt;
pub mod budget;
pub mod callback_secret;
pub mod claim;
pub mod control;
pub mod database;
pub mod delivery;
pub mod doctor;
pub mod ended;
pub mod event;
pub mod expire;
pub mod gate;
pub mod history;
pub mod hook;
pub mod hook_delivery;
pub mod idempotency;
pub mod insert;
pub mod job;
pub mod listen;
pub mod log;
pub mod look;
pub mod migrate;
pub mod need;
pub mod project;
pub mod queue;
pub mod retain;
pub mod roles;
pub mod rollup;
pub mod runner;
pub mod schedule;
pub mod settle;
pub mod stats;
pub mod step;
pub mod token;
pub mod usage;
pub mod waiting;
pub mod workspace;

mod error;
mod named;
mod pool;

pub use error::{Error, Result};
pub use pool::Pool;
pub use sqlx::{PgConnection as Connection, PgExecutor as Executor, PgTransaction as Transaction};
