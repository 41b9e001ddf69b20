//! A workflow service whose only dependency is PostgreSQL.
//!
//! `ARCHITECTURE.md` is the map: the floors, who may name whom, and the ways data takes through them.

pub mod alive;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod objects;
pub mod postgres;
pub mod runner;
pub mod scheduler;
pub mod shutdown;
pub mod store;
pub mod telemetry;
