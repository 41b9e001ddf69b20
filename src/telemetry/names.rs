//! Every metric there is, with what it says: the names are the contract, the labels are bounded.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Kinds of metrics, for the document that lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up, in one process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times in seconds, in buckets.
    Seconds,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Its labels; each has few values.
    pub labels: &'static str,
    /// Which processes have it.
    pub of: &'static str,
    /// What it says.
    pub says: &'static str,
}

const fn metric(
    kind: Kind,
    name: &'static str,
    labels: &'static str,
    of: &'static str,
    says: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        of,
        says,
    }
}

use Kind::{Counter, Gauge, Seconds};

/// All of them. The database's gauges are the same whichever API answers.
pub const METRICS: &[Metric] = &[
    metric(
        Gauge,
        "orchestrator_database_up",
        "",
        "api",
        "Whether the database answered when the metrics were asked for",
    ),
    metric(
        Gauge,
        "orchestrator_queue_jobs",
        "state",
        "api",
        "Jobs that have not ended, by state",
    ),
    metric(
        Gauge,
        "orchestrator_oldest_available_job_seconds",
        "",
        "api",
        "Wait of the oldest available job",
    ),
    metric(
        Gauge,
        "orchestrator_runners",
        "",
        "api",
        "Runner sessions whose lease holds",
    ),
    metric(
        Gauge,
        "orchestrator_slots",
        "",
        "api",
        "Slots of runners that take work",
    ),
    metric(
        Gauge,
        "orchestrator_slots_busy",
        "",
        "api",
        "Jobs that run, one a slot",
    ),
    metric(
        Gauge,
        "orchestrator_leases_expired",
        "",
        "api",
        "Runner sessions that vanished and still hold jobs: no scheduler takes them back",
    ),
    metric(
        Gauge,
        "orchestrator_reports_behind_seconds",
        "",
        "api",
        "Since when the reports by day have not been moved on, though there was something to add",
    ),
    metric(
        Gauge,
        "orchestrator_scheduler_lag_seconds",
        "",
        "api, scheduler",
        "How late the schedule is that was to be released first; no scheduler runs when it grows",
    ),
    metric(
        Counter,
        "orchestrator_http_refused_total",
        "reason",
        "api",
        "Requests refused before they were looked at: rate_limit, overloaded",
    ),
    metric(
        Counter,
        "orchestrator_hook_events_total",
        "provider, outcome",
        "api",
        "Events that came in at hooks, by what was made of them",
    ),
    metric(
        Counter,
        "orchestrator_jobs_total",
        "status",
        "runner",
        "Attempts this process settled, by the state of the job after it",
    ),
    metric(
        Counter,
        "orchestrator_steps_total",
        "status",
        "runner",
        "Steps this process ended, by status",
    ),
    metric(
        Counter,
        "orchestrator_redactions_total",
        "",
        "runner",
        "Secrets taken out of what steps printed",
    ),
    metric(
        Counter,
        "orchestrator_agent_cost_microdollars_total",
        "agent",
        "runner",
        "What agents say they cost, in millionths of a US dollar",
    ),
    metric(
        Counter,
        "orchestrator_agent_tokens_total",
        "agent, kind",
        "runner",
        "Tokens agents say they used: input, output, and cached, those of the input that came out of a cache",
    ),
    metric(
        Counter,
        "orchestrator_attempts_lost_total",
        "",
        "scheduler",
        "Attempts taken from runners that vanished",
    ),
    metric(
        Counter,
        "orchestrator_schedule_fired_total",
        "reason",
        "scheduler",
        "Runs of schedules that made a job",
    ),
    metric(
        Counter,
        "orchestrator_schedule_skipped_total",
        "reason",
        "scheduler",
        "Runs of schedules that made no job",
    ),
    metric(
        Counter,
        "orchestrator_schedule_missed_total",
        "reason",
        "scheduler",
        "Runs of schedules that nobody released in time and that were not made up for",
    ),
    metric(
        Counter,
        "orchestrator_callbacks_total",
        "outcome",
        "scheduler",
        "Tries of callbacks",
    ),
    metric(
        Counter,
        "orchestrator_retention_rows_total",
        "kind",
        "scheduler",
        "Rows deleted because they were too old",
    ),
    metric(
        Gauge,
        "orchestrator_runner_slots",
        "",
        "runner",
        "Jobs this process runs at once",
    ),
    metric(
        Gauge,
        "orchestrator_runner_slots_busy",
        "",
        "runner",
        "Jobs this process runs now",
    ),
    metric(
        Gauge,
        "orchestrator_runner_lease_renewed_timestamp_seconds",
        "",
        "runner",
        "When this process last renewed its lease, by its own clock",
    ),
    metric(
        Gauge,
        "orchestrator_scheduler_tick_timestamp_seconds",
        "",
        "scheduler",
        "When this process last did all that was due, by its own clock",
    ),
    metric(
        Seconds,
        "orchestrator_queue_wait_seconds",
        "",
        "runner",
        "From when a job was due to when this process claimed it",
    ),
    metric(
        Seconds,
        "orchestrator_job_seconds",
        "status",
        "runner",
        "From the claim of a job to the end of that attempt",
    ),
    metric(
        Seconds,
        "orchestrator_step_seconds",
        "",
        "runner",
        "Run time of a step",
    ),
    metric(
        Seconds,
        "orchestrator_claim_seconds",
        "",
        "runner",
        "Time of a claim",
    ),
    metric(
        Seconds,
        "orchestrator_settle_seconds",
        "",
        "runner",
        "Time of a settle, for a whole batch",
    ),
    metric(
        Seconds,
        "orchestrator_scheduler_tick_seconds",
        "",
        "scheduler",
        "Time of a look at what is due",
    ),
    metric(
        Seconds,
        "orchestrator_callback_duration_seconds",
        "",
        "scheduler",
        "Time of a try of a callback",
    ),
    metric(
        Seconds,
        "orchestrator_http_request_duration_seconds",
        "method, route, status",
        "api",
        "Time from a request's headers to its answer's",
    ),
];

/// Tells the recorder what each says.
pub(super) fn describe() {
    for metric in METRICS {
        let is_time = metric.name.ends_with("_seconds");
        match metric.kind {
            Counter => describe_counter!(metric.name, metric.says),
            Gauge if is_time => describe_gauge!(metric.name, Unit::Seconds, metric.says),
            Gauge => describe_gauge!(metric.name, metric.says),
            Seconds => describe_histogram!(metric.name, Unit::Seconds, metric.says),
        };
    }
}
