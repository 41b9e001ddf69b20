//! What is left of the service while its own steps take all of the processor: with the weight that steps have, and with
//! the service's own.
//!
//! The three are measured in turns, and what is said is the middle of the rounds: a machine that becomes slower meanwhile is so
//! for all of them.

use std::time::{Duration, Instant};

use orchestrator::store::Pool;

use super::http::Api;
use super::support::{Database, Goal, ask, median, percentile, tell};
use super::{Bench, jobs, latency, webhook};

/// Hogs that run.
const BURNING: &str = "select count(*) from job where queue = 'hogs' and state = 'running'";
/// Callers at once.
const CALLERS: u32 = 8;
/// What tells a hog from other programs.
const MARK: &str = "orchestrator-bench-hog";
/// Rounds of each.
const ROUNDS: usize = 3;

/// What was met.
#[derive(Clone, Copy)]
struct Met {
    accepted: f64,
    p50: f64,
    p99: f64,
}

impl Met {
    fn middle(rounds: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| median(rounds.iter().map(of).collect());
        Self {
            accepted: middle(|met| met.accepted),
            p50: middle(|met| met.p50),
            p99: middle(|met| met.p99),
        }
    }
}

pub(super) async fn measure(bench: &Bench<'_>) {
    let database = bench.server.database("hogs").await;
    let pool = database.pool(4);
    let api = Api::start(&database, &pool).await;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (mut alone, mut equal, mut less) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(under(bench, &database, &pool, &api, None, 0).await);
        equal.push(under(bench, &database, &pool, &api, Some("0"), cores).await);
        less.push(under(bench, &database, &pool, &api, None, cores).await);
    }
    let (alone, equal, less) = (Met::middle(&alone), Met::middle(&equal), Met::middle(&less));
    let report = &bench.report;
    for (name, met) in [
        ("no hogs", alone),
        ("hogs of equal weight", equal),
        ("hogs as steps are", less),
    ] {
        report.say(
            &format!("webhooks accepted, 8 connections, {name}"),
            met.accepted,
            "req/s",
        );
        report.say(
            &format!("webhook sent to process started p50, {name}"),
            met.p50,
            "ms",
        );
        report.say(
            &format!("webhook sent to process started p99, {name}"),
            met.p99,
            "ms",
        );
    }
    let lost = |met: Met| (alone.accepted - met.accepted).max(0.0);
    let name = "webhooks lost to hogs as steps are / of equal weight";
    report.figure(name, lost(less), "req/s", Some(lost(equal)), Goal::AtMost(0.5));
    let late = |met: Met| (met.p50 - alone.p50).max(0.0);
    let name = "start p50 lost to hogs as steps are / of equal weight";
    report.figure(name, late(less), "ms", Some(late(equal)), Goal::AtMost(0.5));
    pool.close().await;
}

/// Measures while `hogs` steps of a runner compute without end, `nice` or as nice as they are.
async fn under(
    bench: &Bench<'_>,
    database: &Database,
    pool: &Pool,
    api: &Api,
    nice: Option<&str>,
    hogs: usize,
) -> Met {
    let (length, samples) = (
        Duration::from_millis(bench.options.size(3000) as u64),
        bench.options.size(150).max(10),
    );
    let environment: Vec<_> = nice.map(|nice| ("STEP_NICE", nice)).into_iter().collect();
    let slots = (hogs + 4).to_string();
    let mut runner = database.service(
        &["runner", "--slots", &slots, "--queues", "hogs,default"],
        &environment,
    );
    runner.hear("runner session open");
    burn(pool, hogs).await;
    let waits = latency::starts(pool, &mut api.connect().await, samples).await;
    let mut waits: Vec<f64> = waits.iter().map(|one| one.started).collect();
    // What is accepted is not to be run meanwhile: this is about who puts it in.
    jobs::hold(pool).await;
    let accepted = webhook::accepted(api, CALLERS, length).await;
    assert_eq!(ask(pool, BURNING).await, hogs.to_string());
    drop(runner);
    // They end with it, and are not to burn beside what is measured next.
    let began = Instant::now();
    while burn_still() {
        assert!(began.elapsed() < jobs::LONGEST, "steps that were cancelled go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tell(
        pool,
        "truncate job cascade; truncate job_spec, log, step, attempt, event",
    )
    .await;
    jobs::release(pool).await;
    Met {
        accepted,
        p50: percentile(&mut waits, 0.5),
        p99: percentile(&mut waits, 0.99),
    }
}

/// Lets the runner start so many steps that never end.
async fn burn(pool: &Pool, hogs: usize) {
    if hogs > 0 {
        jobs::put_in(
            pool,
            "hogs",
            hogs,
            &jobs::program(&["sh", "-c", "while :; do :; done", MARK]),
        )
        .await;
        tell(pool, "select pg_notify('orchestrator_work', 'hogs')").await;
    }
    while ask(pool, BURNING).await != hogs.to_string() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a hog is left.
fn burn_still() -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut arguments =
        processes.map(|process| std::fs::read(process.path().join("cmdline")).unwrap_or_default());
    arguments.any(|arguments| {
        arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == MARK.as_bytes())
    })
}
