//! `cargo bench --bench logs`: what a hundred jobs that print all the time do to a claim.
//!
//! A real runner holds a hundred jobs whose programs print a line of 200 bytes ten times a second, or, for
//! comparison, as many that only sleep. Beside them jobs are claimed and settled one at a time, as a runner
//! with a free slot would; how long the claims take is the figure. The two alternate, so that what the machine does
//! besides falls on both. Durable settings.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    dead_code,
    reason = "support is shared by programs that use different parts of it"
)]

mod support;

use std::time::{Duration, Instant};

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit_all;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::claim::claim;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{Pool, runner};
use serde_json::json;

use support::{Database, Goal, Options, Report, Server, ask, median, tell};

/// Jobs that print at once.
const JOBS: usize = 100;
/// Rounds of each kind.
const ROUNDS: usize = 5;
/// Claims that are measured in a round.
const CLAIMS: usize = 1000;
/// How much longer a claim may take.
const GOAL: f64 = 1.25;

const PRINT: &str = r#"$| = 1; while (1) { print "x" x 199, "\n"; select(undef, undef, undef, 0.1) }"#;
const SLEEP: &str = r#"while (1) { select(undef, undef, undef, 0.1) }"#;

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    runtime.block_on(measure(&options, &server));
}

async fn measure(options: &Options, server: &Server) {
    let report = Report::new(options, &server.version().await);
    let database = server.database("logs").await;
    let pool = database.pool(4);
    let slots = JOBS.to_string();
    let environment = [
        ("RUNNER_SLOTS", slots.as_str()),
        ("RUNNER_QUEUES", "printing"),
        ("RUNNER_RECLAIM_AFTER_SEC", "60"),
        ("LOG_LEVEL", "info"),
    ];
    let mut service = database.service(&["runner"], &environment);
    service.hear("runner session open");
    let rounds = if options.smoke { 1 } else { ROUNDS };
    let (mut quiet, mut loud, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        quiet.push(round(options, &pool, &database, SLEEP).await.0);
        let (claims, written) = round(options, &pool, &database, PRINT).await;
        loud.push(claims);
        rows.push(written);
    }
    let middle = |rounds: &[Vec<f64>]| median(rounds.concat());
    let late = |rounds: &[Vec<f64>]| percentile(rounds.concat(), 0.95);
    report.say("jobs that print at once", JOBS as f64, "jobs");
    report.say("rows of output written meanwhile", median(rows), "rows/s");
    report.say("a claim beside jobs that sleep, p50", middle(&quiet), "ms");
    report.say("a claim beside jobs that sleep, p95", late(&quiet), "ms");
    report.figure(
        "a claim beside jobs that print, p50",
        middle(&loud),
        "ms",
        Some(middle(&quiet)),
        Goal::AtMost(GOAL),
    );
    report.figure(
        "a claim beside jobs that print, p95",
        late(&loud),
        "ms",
        Some(late(&quiet)),
        Goal::None,
    );
}

/// Milliseconds that claims took beside a hundred jobs of this program, and rows of output a second.
async fn round(options: &Options, pool: &Pool, database: &Database, program: &str) -> (Vec<f64>, f64) {
    put(
        pool,
        "printing",
        JOBS,
        &json!({ "step_id": "a", "argv": ["perl", "-e", program], "idle_timeout_sec": 0 }),
    )
    .await;
    while ask(pool, "select count(*) = 100 from job where state = 'running'").await != "true" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The start of a hundred processes is not what is measured.
    tokio::time::sleep(Duration::from_secs(2)).await;
    put(
        pool,
        "claimed",
        options.size(CLAIMS),
        &json!({ "step_id": "a", "agent": "noop" }),
    )
    .await;
    let (before, began) = (written(pool).await, Instant::now());
    let claims = claims(&database.pool(1)).await;
    let rows = (written(pool).await - before) / began.elapsed().as_secs_f64();
    tell(pool, "update job set cancel_asked_at = now() where state = 'running'; select pg_notify('orchestrator_work', 'printing')").await;
    tell(
        pool,
        "select pg_notify('orchestrator_runner', id::text) from runner",
    )
    .await;
    while ask(pool, "exists (select from job where state = 'running')").await == "true" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (claims, rows)
}

async fn written(pool: &Pool) -> f64 {
    ask(pool, "select count(*) from log").await.parse().unwrap()
}

async fn put(pool: &Pool, queue: &str, number: usize, step: &serde_json::Value) {
    let spec = json!({ "goal": "measure", "project_id": "bench", "queue": queue, "steps": [step] });
    let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
    let caller = Caller::operator("bench");
    let specs = vec![spec; number];
    submit_all(pool, &Hints::start(pool.clone()), &caller, &specs, |_| {
        String::new()
    })
    .await
    .unwrap();
}

/// Claims and settles one job after another until there is none, and says how long each claim took.
async fn claims(pool: &Pool) -> Vec<f64> {
    let session = RunnerId::generate();
    let queues = ["claimed".to_owned()];
    let new = NewSession {
        id: session,
        instance: "bench",
        host: "bench",
        pid: 1,
        slots: 1,
        queues: &queues,
        labels: &[],
        lease: Duration::from_secs(600),
    };
    runner::open(pool, &new).await.unwrap();
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        let claimed = claim(pool, session, "claimed", &[], 1).await.unwrap();
        let elapsed = began.elapsed();
        if claimed.is_empty() {
            runner::close(pool, session).await.unwrap();
            return took;
        }
        took.push(elapsed.as_secs_f64() * 1000.0);
        let ended: Vec<_> = claimed
            .into_iter()
            .map(|job| Settlement {
                fence: job.fence,
                ending: Ending::Succeeded,
                step: None,
            })
            .collect();
        settle(pool, session, &ended).await.unwrap();
    }
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}
