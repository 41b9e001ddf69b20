//! The API over real HTTP, on a real listener, against a real PostgreSQL.

mod agents;
mod auth;
mod callbacks;
mod health;
mod hooks;
mod hostile;
mod http;
mod idempotency;
mod jobs;
mod limits;
mod logs;
mod operations;
mod schedules;
mod server;
mod webhook;
