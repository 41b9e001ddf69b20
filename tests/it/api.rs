//! The API over real HTTP, on a real listener, against a real PostgreSQL.

mod agents;
mod artifacts;
mod auth;
mod callbacks;
mod feed;
mod health;
mod hooks;
mod hostile;
mod http;
mod idempotency;
mod jobs;
mod limits;
mod logs;
mod operations;
mod projects;
mod remembered;
mod schedules;
mod server;
mod stats;
mod tenants;
mod tokens;
mod webhook;
