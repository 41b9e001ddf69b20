//! How long what is kept.

use std::time::Duration;

use clap::Args;

use super::value::{parse_seconds, parse_ttl};
use crate::domain::retention;

/// How long rows are kept; 0 is for ever.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "retention_settings")]
pub struct Retention {
    /// Time between two looks for what is too old, in seconds
    #[arg(long, env = "RETENTION_INTERVAL_SEC", value_name = "SEC", default_value = "300", value_parser = parse_seconds)]
    pub retention_interval_sec: Duration,
    /// How long jobs are kept after they ended, with everything of theirs but their events, in seconds; 0 is for ever
    #[arg(long, env = "JOBS_TTL_SEC", value_name = "SEC", default_value = "7776000", value_parser = parse_ttl)]
    pub jobs_ttl_sec: Duration,
    /// How long what jobs left behind is kept after they ended, in seconds; 0 is as long as the job
    #[arg(long, env = "ARTIFACTS_TTL_SEC", value_name = "SEC", default_value = "2592000", value_parser = parse_ttl)]
    pub artifacts_ttl_sec: Duration,
    /// How long what steps printed is kept after the job ended, in seconds; 0 is as long as the job
    #[arg(long, env = "LOGS_TTL_SEC", value_name = "SEC", default_value = "2592000", value_parser = parse_ttl)]
    pub logs_ttl_sec: Duration,
    /// How long steps, and what agents said and used in them, are kept after the job ended, in seconds; 0 is as long as the job
    #[arg(long, env = "STEPS_TTL_SEC", value_name = "SEC", default_value = "0", value_parser = parse_ttl)]
    pub steps_ttl_sec: Duration,
    /// How long attempts are kept after the job ended, in seconds; 0 is as long as the job
    #[arg(long, env = "ATTEMPTS_TTL_SEC", value_name = "SEC", default_value = "0", value_parser = parse_ttl)]
    pub attempts_ttl_sec: Duration,
    /// How long the audit log is kept, in seconds; 0 is for ever
    #[arg(long, env = "EVENTS_TTL_SEC", value_name = "SEC", default_value = "31536000", value_parser = parse_ttl)]
    pub events_ttl_sec: Duration,
    /// How long decided instants of schedules are kept, in seconds; 0 is for ever
    #[arg(long, env = "OCCURRENCES_TTL_SEC", value_name = "SEC", default_value = "7776000", value_parser = parse_ttl)]
    pub occurrences_ttl_sec: Duration,
    /// How long callbacks that went out and events that came in at hooks are kept, in seconds; 0 is for ever.
    /// An event that is repeated after that makes another job
    #[arg(long, env = "DELIVERIES_TTL_SEC", value_name = "SEC", default_value = "2592000", value_parser = parse_ttl)]
    pub deliveries_ttl_sec: Duration,
    /// How long sessions of runners are kept after they ended, in seconds; 0 is for ever
    #[arg(long, env = "RUNNERS_TTL_SEC", value_name = "SEC", default_value = "7776000", value_parser = parse_ttl)]
    pub runners_ttl_sec: Duration,
    /// How long the sums that reports by day and hour are made of are kept, in seconds; 0 is for ever
    #[arg(long, env = "REPORTS_TTL_SEC", value_name = "SEC", default_value = "63072000", value_parser = parse_ttl)]
    pub reports_ttl_sec: Duration,
    /// How long a job with an idempotency key is kept at least, in seconds
    #[arg(long, env = "IDEMPOTENCY_TTL_SEC", value_name = "SEC", default_value = "86400", value_parser = parse_ttl)]
    pub idempotency_ttl_sec: Duration,
}

impl From<Retention> for retention::Retention {
    fn from(from: Retention) -> Self {
        let some = |ttl: Duration| (!ttl.is_zero()).then_some(ttl);
        Self {
            every: from.retention_interval_sec,
            artifacts: some(from.artifacts_ttl_sec),
            logs: some(from.logs_ttl_sec),
            steps: some(from.steps_ttl_sec),
            attempts: some(from.attempts_ttl_sec),
            jobs: some(from.jobs_ttl_sec),
            events: some(from.events_ttl_sec),
            occurrences: some(from.occurrences_ttl_sec),
            deliveries: some(from.deliveries_ttl_sec),
            runners: some(from.runners_ttl_sec),
            reports: some(from.reports_ttl_sec),
            keys: from.idempotency_ttl_sec,
        }
    }
}
