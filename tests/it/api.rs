//! The API over real HTTP, on a real listener, against a real PostgreSQL.

mod auth;
mod health;
mod hostile;
mod http;
mod jobs;
mod logs;
mod operations;
mod server;
mod webhook;
