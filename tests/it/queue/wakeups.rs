//! How a runner hears of work: a hint, or a look of its own when hints are lost.

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::submit;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::listen::{self, Listener};
use orchestrator::store::{Pool, project};
use serde_json::json;

use crate::support::{Database, Program, Scratch, ask, database, scratch, tell, until};

/// A database, and a place for runners.
struct Ground {
    database: Database,
    pool: Pool,
    directory: Scratch,
}

/// An hour is longer than any test: only a hint can wake a runner that polls so seldom.
const SELDOM: &str = "3000";

impl Ground {
    async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        Self {
            database,
            pool,
            directory: scratch(),
        }
    }

    fn runner(&self, poll: &str, more: &[&str]) -> Program {
        let workspaces = self.directory.join("workspaces");
        let environment = [
            ("DATABASE_URL", self.database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("RUNNER_POLL_INTERVAL_SEC", poll),
            ("SANDBOX", "off"),
        ];
        let mut runner = Program::start(&[&["runner"], more].concat(), &environment);
        runner.hear("runner session open");
        runner
    }

    async fn submit(&self, hints: &Hints, queue: &str) {
        let spec = json!({ "goal": "g", "project_id": "demo", "queue": queue, "steps": [{ "step_id": "a", "agent": "noop" }] });
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        submit(&self.pool, hints, &Caller::operator("test"), &spec)
            .await
            .unwrap();
    }

    async fn succeeded(&self, number: usize) {
        let question = "select count(*) from job where state = 'succeeded'";
        until(async || (ask(&self.pool, question).await == number.to_string()).then_some(())).await;
    }

    /// Waits until the runner hears hints, and has looked once since it does.
    async fn is_listening(&self) {
        let question = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'orchestrator-listen' and query ilike 'listen%' and state = 'idle'";
        until(async || (ask(&self.pool, question).await == "1").then_some(())).await;
    }
}

#[tokio::test]
async fn a_hint_wakes_a_runner_that_would_not_have_looked() {
    let ground = Ground::new().await;
    let hints = Hints::start(ground.pool.clone());
    let _runner = ground.runner(SELDOM, &[]);
    ground.is_listening().await;
    for number in 1..=5 {
        ground.submit(&hints, "default").await;
        ground.succeeded(number).await;
    }
}

#[tokio::test]
async fn a_hint_that_is_lost_costs_a_poll() {
    let ground = Ground::new().await;
    let _runner = ground.runner("0.1", &[]);
    for number in 1..=5 {
        // These hints are told to nobody.
        ground.submit(&Hints::default(), "default").await;
        ground.succeeded(number).await;
    }
}

#[tokio::test]
async fn a_listener_that_was_cut_off_comes_back_and_what_was_missed_is_found() {
    let ground = Ground::new().await;
    let _runner = ground.runner(SELDOM, &[]);
    ground.is_listening().await;
    for number in 1..=3 {
        ground.submit(&Hints::default(), "default").await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and application_name = 'orchestrator-listen'";
        tell(&ground.pool, cut).await;
        ground.succeeded(number).await;
    }
    ground.is_listening().await;
    ground.submit(&Hints::start(ground.pool.clone()), "default").await;
    ground.succeeded(4).await;
}

#[tokio::test]
async fn hints_of_a_thousand_jobs_are_one_notification_a_queue() {
    let ground = Ground::new().await;
    let mut listener = Listener::on(&ground.database.url, &[listen::WORK, "end"])
        .await
        .unwrap();
    let hints = Hints::default();
    for number in 0..1000 {
        hints.work(if number % 2 == 0 { "even" } else { "odd" });
    }
    hints.tell(&ground.pool).await;
    tell(&ground.pool, "notify \"end\"").await;
    let mut heard = Vec::new();
    loop {
        let hint = listener.next().await.unwrap().unwrap();
        if hint.channel == "end" {
            break;
        }
        heard.push(hint.payload);
    }
    heard.sort();
    assert_eq!(heard, ["even", "odd"]);
}

#[tokio::test]
async fn an_insert_tells_nobody_within_its_transaction() {
    let ground = Ground::new().await;
    let mut listener = Listener::on(&ground.database.url, &[listen::WORK, "end"])
        .await
        .unwrap();
    ground.submit(&Hints::default(), "default").await;
    tell(&ground.pool, "notify \"end\"").await;
    assert_eq!(listener.next().await.unwrap().unwrap().channel, "end");
}

#[tokio::test]
async fn queues_have_their_turn_also_with_empty_ones_between_them() {
    let ground = Ground::new().await;
    for queue in ["a", "c"].repeat(30) {
        ground.submit(&Hints::default(), queue).await;
    }
    let _runner = ground.runner(SELDOM, &["--slots", "1", "--queues", "a,b,d,c"]);
    ground.succeeded(60).await;
    let apart = "select max(abs(ahead)) from (
        select sum(case queue when 'a' then 1 else -1 end) over (order by started_at, id) as ahead from job) as begun";
    assert_eq!(ask(&ground.pool, apart).await, "1");
}

#[tokio::test]
async fn queues_are_served_in_turn_however_much_waits_in_one_of_them() {
    let ground = Ground::new().await;
    for _ in 0..40 {
        ground.submit(&Hints::default(), "long").await;
    }
    for _ in 0..3 {
        ground.submit(&Hints::default(), "short").await;
    }
    let _runner = ground.runner(SELDOM, &["--slots", "1", "--queues", "long,short"]);
    ground.succeeded(43).await;
    let order = "select max(place) from (select queue, row_number() over (order by started_at, id) as place from job) as begun where queue = 'short'";
    assert_eq!(ask(&ground.pool, order).await, "6");
}
