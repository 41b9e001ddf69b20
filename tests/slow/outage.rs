//! A database that is away for a minute, while callers ask and steps print.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::{Pool, database as pools, project};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Program, ask, programs, scratch, until, within};

const TOKEN: &str = "a-token-of-the-environment";
/// Callers at once, each of which sends the next request when the last is accepted.
const CALLERS: usize = 4;
/// Jobs that run while the database is away.
const RUNNING: usize = 6;
/// Numbers what it prints until the file `$0` is there.
const PRINT: &str = "n=0; while [ ! -e \"$0\" ]; do n=$((n + 1)); echo $n; sleep 0.1; done; echo end";

fn server(hold: &Hold) -> Cluster {
    Cluster::start(&programs(), hold, Keep::Data).unwrap()
}

#[derive(Clone)]
struct Caller {
    http: Client,
    url: String,
    /// Requests that were answered with 503.
    refused: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Caller {
    /// Whether it is ready, as its balancer asks.
    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/health/ready", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends a request until it is accepted; answers with its job.
    async fn post(&self, key: &str, argv: &[&str]) -> String {
        let body = json!({
            "goal": "g", "project_id": "demo", "idempotency_key": key, "steps": [{ "step_id": "a", "argv": argv }],
        });
        loop {
            let request = self.http.post(format!("{}/webhook", self.url)).bearer_auth(TOKEN);
            // What it was asked for while the database goes away may be in or not: that is what the key is for.
            let answer = request.json(&body).send().await.unwrap();
            let status = answer.status();
            let said: Value = answer.json().await.unwrap();
            if status.is_success() {
                return said["job_id"].as_str().unwrap().to_owned();
            }
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
            self.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks for one job after the other until it is over; what was accepted, by key.
    async fn go_on(self, name: usize) -> BTreeMap<String, String> {
        let mut accepted = BTreeMap::new();
        while !self.over.load(Ordering::Relaxed) {
            let key = format!("{name}-{}", accepted.len());
            let job = self.post(&key, &["true"]).await;
            accepted.insert(key, job);
        }
        accepted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_minute_costs_no_job_no_line_and_no_attempt_while_leases_are_longer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = scratch();
    let hold = Hold::take(&directory).unwrap();
    let cluster = server(&hold);
    cluster.create_database("orchestrator").unwrap();
    let url = cluster.url("orchestrator");
    let workspaces = directory.join("workspaces");
    let tokens = format!("{TOKEN}=demo");
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("WEBHOOK_TOKENS", &tokens),
        ("WEBHOOK_RATE_LIMIT_MAX_REQUESTS", "0"),
        ("RUNNER_RECLAIM_AFTER_SEC", "150"),
        ("RUNNER_SLOTS", "8"),
        ("SANDBOX", "off"),
    ];
    assert!(Program::start(&["migrate"], &environment).end().success());
    let pool = pools::pool(&url.parse().unwrap(), "test", 2).unwrap();
    project::put(&pool, "demo", &directory.project(), "administrator")
        .await
        .unwrap();
    let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
    let mut runner = Program::start(&["runner"], &environment);
    let mut scheduler = Program::start(&["scheduler"], &environment);
    let address = api.hear("http.address=");
    let address = address.split("http.address=").nth(1).unwrap().trim().to_owned();
    runner.hear("runner session open");
    scheduler.hear("scheduler running");
    let caller = Caller {
        http: Client::new(),
        url: format!("http://{address}"),
        refused: Arc::default(),
        over: Arc::default(),
    };
    until(async || caller.is_ready().await.then_some(())).await;
    let (early, late) = (directory.join("early"), directory.join("late"));
    for number in 0..RUNNING {
        let go = if number % 2 == 0 { &early } else { &late };
        let argv = ["sh", "-c", PRINT, go.to_str().unwrap()];
        caller.post(&format!("running-{number}"), &argv).await;
    }
    let running = "select count(*) from job where state = 'running'";
    until(async || (ask(&pool, running).await == RUNNING.to_string()).then_some(())).await;
    let mut callers = JoinSet::new();
    for name in 0..CALLERS {
        callers.spawn(caller.clone().go_on(name));
    }
    let ended = |number: usize| format!("select count(*) >= {number} from job where state = 'succeeded'");
    until(async || (ask(&pool, &ended(50)).await == "true").then_some(())).await;
    pool.close().await;

    cluster.stop().unwrap();
    until(async || (!caller.is_ready().await).then_some(())).await;
    away(&early).await;
    assert!(caller.refused.load(Ordering::Relaxed) > CALLERS);
    let cluster = server(&hold);
    fs::write(&late, "").unwrap();
    let pool = pools::pool(&url.parse().unwrap(), "test", 2).unwrap();
    until(async || caller.is_ready().await.then_some(())).await;
    let before: usize = ask(&pool, "select count(*) from job where state = 'succeeded'")
        .await
        .parse()
        .unwrap();
    until(async || (ask(&pool, &ended(before + 50)).await == "true").then_some(())).await;
    caller.over.store(true, Ordering::Relaxed);
    let accepted: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    let open = "select count(*) from job where state <> 'succeeded'";
    within(120, async || (ask(&pool, open).await == "0").then_some(())).await;
    judge(&pool, &accepted).await;
    pool.close().await;
    for service in [&mut api, &mut runner, &mut scheduler] {
        service.signal(Signal::SIGTERM);
        assert!(service.end().success(), "{}", service.said());
    }
    cluster.stop().unwrap();
}

/// A minute passes; half-way, some steps end and have nobody to tell.
async fn away(early: &Path) {
    tokio::time::sleep(Duration::from_secs(30)).await;
    fs::write(early, "").unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
}

/// Each that was accepted has one job, which ran once; each line is there, once, in its place.
async fn judge(pool: &Pool, accepted: &[(String, String)]) {
    let jobs = (accepted.len() + RUNNING).to_string();
    assert_eq!(ask(pool, "select count(*) from job").await, jobs);
    for (key, job) in accepted {
        let held = format!("select job_id from job_key where key = '{key}'");
        assert_eq!(ask(pool, &held).await, *job, "{key}");
    }
    let outcomes = "select string_agg(distinct outcome, ' ') || ' ' || count(*) from attempt";
    assert_eq!(ask(pool, outcomes).await, format!("succeeded {jobs}"));
    let printed = "select string_agg(body, '' order by seq) from log
                    where stream = 'stdout' group by job_id having count(*) > 1 order by job_id";
    for number in 0..RUNNING {
        let one = format!("{printed} offset {number} limit 1");
        let body = ask(pool, &one).await;
        let lines: Vec<&str> = body.lines().collect();
        let (last, numbers) = lines.split_last().unwrap();
        assert_eq!(*last, "end");
        assert!(numbers.len() > 200, "it printed all the while: {}", numbers.len());
        for (index, line) in numbers.iter().enumerate() {
            assert_eq!(*line, (index + 1).to_string());
        }
    }
}
