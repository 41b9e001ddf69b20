//! `cargo bench --bench schedules`: ten thousand schedules, a thousand of them due in the same second, and one
//! real scheduler on a server with durable settings.
//!
//! What is measured is what the database says: when the last of the thousand was committed, how many one
//! transaction fired, how long claims took meanwhile and before, and what an idle scheduler asks. `-- firing` or
//! `-- idle` measures only that, `-- --json` prints one object a line, `-- --smoke` does a hundredth of the work.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]

#[expect(dead_code, reason = "other benchmarks use what this one does not")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orchestrator::app::authenticate::Caller;
use orchestrator::app::schedules::create;
use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::schedule::Definition;
use orchestrator::store::claim::claim;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{Pool, runner};
use serde_json::json;
use support::{Database, Goal, Options, Report, Server, ask, median, tell};

/// What PostgreSQL is to note: when each transaction was committed, and each statement.
const SETTINGS: &str = "track_commit_timestamp = on; shared_preload_libraries = 'pg_stat_statements'";
/// How often a thousand are due at once, each time others.
const ROUNDS: usize = 5;
/// Time between two claims: a runner that is always given something.
const PACE: Duration = Duration::from_millis(5);
/// The most that one transaction may fire.
const BATCH: f64 = 500.0;

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    runtime.block_on(async {
        let server = server.with(SETTINGS).await;
        measure(&options, &server).await;
        // Stopped by a thread that may wait.
        tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
    });
}

async fn measure(options: &Options, server: &Server) {
    let report = Report::new(options, &server.version().await);
    let database = server.database("schedules").await;
    let pool = database.pool(4);
    let schedules = options.size(10_000);
    fill(&pool, schedules).await;
    let name = format!("{schedules} schedules");
    report.say(&name, schedules as f64, "rows");
    let mut scheduler = database.service(&["scheduler"], &[("LOG_LEVEL", "info")]);
    scheduler.hear("scheduler running");
    if options.wants("idle") {
        idle(options, &report, &pool).await;
    }
    if options.wants("firing") {
        firing(options, &report, &database, &pool).await;
    }
    drop(scheduler);
    pool.close().await;
}

/// Schedules that are due in ten months, in ten groups of as many; and jobs that can be claimed all the while.
async fn fill(pool: &Pool, schedules: usize) {
    let definition = json!({
        "name": "first", "expression": "@yearly",
        "job": { "goal": "measure", "project_id": "bench", "steps": [{ "step_id": "a", "argv": ["true"] }] },
    });
    let definition = Definition::read(definition.to_string().as_bytes()).unwrap();
    create(pool, &Caller::operator("bench"), &definition, None)
        .await
        .unwrap();
    let statements = format!(
        "insert into schedule (id, project_id, name, expression, zone, anchor, spec, next_due_at, fire_at)
         select gen_random_uuid(), project_id, 'g' || n % 10 || '-' || n, expression, zone, anchor, spec, at, at
           from (select schedule.*, n, now() + interval '300 days' + n * interval '1 minute' as at
                   from schedule, generate_series(1, {schedules}) as n) as copied;
         delete from schedule where name = 'first';
         insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
         select (left(uuid_at(clock_timestamp())::text, 18) || right(gen_random_uuid()::text, 18))::uuid, id, 'default',
                'available', 0, now() - interval '1 hour', 3
           from project, generate_series(1, 20000);
         insert into job_spec (job_id, of_project, spec, request_hash) select id, project_id, '{{}}', sha256('') from job;
         create extension pg_stat_statements;
         analyze; checkpoint;"
    );
    tell(pool, &statements).await;
}

/// A thousand are due in one second, five times over.
async fn firing(options: &Options, report: &Report, database: &Database, pool: &Pool) {
    let claims = Claims::start(database).await;
    // Caches and connections first.
    claims.over(Duration::from_secs(1)).await;
    let before = claims
        .over(Duration::from_secs(if options.smoke { 1 } else { 10 }))
        .await;
    let (mut lasts, mut firsts, mut during, mut batches) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let due = due_together(pool, round).await;
        let meanwhile = claims.until(pool, &due).await;
        during.extend(meanwhile);
        let of = |what: &str| {
            format!("select {what} from (select pg_xact_commit_timestamp(xmin) as at, count(*) as fired from occurrence
                      where due_at = '{due}' and decision = 'fired' and job_id is not null group by xmin) as batch")
        };
        let number = async |what: String| ask(pool, &what).await.parse::<f64>().unwrap();
        let fired = number(of("sum(fired)")).await;
        assert_eq!(fired as usize, options.size(10_000) / 10, "all are fired");
        lasts.push(number(of(&format!("extract(epoch from max(at) - timestamptz '{due}')"))).await);
        firsts.push(number(of(&format!("extract(epoch from min(at) - timestamptz '{due}')"))).await);
        batches.push(number(of("max(fired)")).await);
    }
    claims.stop().await;
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    report.say(
        "1,000 due in one second: the first batch fired, median of 5",
        median(firsts),
        "s",
    );
    report.say(
        "1,000 due in one second: the last fired, median of 5",
        median(lasts.clone()),
        "s",
    );
    let name = "1,000 due in one second: the last fired, worst of 5";
    report.figure(name, most(&lasts), "s", None, Goal::AtMost(2.0));
    let name = "the most that one transaction fired";
    report.figure(name, most(&batches), "schedules", None, Goal::AtMost(BATCH));
    report.say(
        "claims measured while schedules fired",
        during.len() as f64,
        "claims",
    );
    for (share, goal) in [(50, Goal::AtMost(2.0)), (95, Goal::None)] {
        let (usual, now) = (percentile(&before, share), percentile(&during, share));
        let name = format!("claim while schedules fire / before, p{share}");
        report.figure(&name, now * 1000.0, "ms", Some(usual * 1000.0), goal);
    }
}

/// Lets the schedules of one group be due in the same second, a few seconds from now; answers with when.
async fn due_together(pool: &Pool, group: usize) -> String {
    let due = "date_trunc('second', now() at time zone 'UTC') + interval '4 s'";
    let due = ask(pool, &format!("to_char({due}, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")).await;
    let statement = format!(
        "update schedule set expression = to_char(at, 'FMSS FMMI FMHH24 FMDD FMMM') || ' *', fire_at = '{due}', next_due_at = '{due}'
           from (select timestamptz '{due}' at time zone 'UTC' as at) as due
          where name like 'g{group}-%'"
    );
    tell(pool, &statement).await;
    due
}

/// A connection that claims, and how long each claim took.
struct Claims {
    pool: Pool,
    session: RunnerId,
}

impl Claims {
    async fn start(database: &Database) -> Self {
        let pool = database.pool(1);
        let session = RunnerId::generate();
        let queues = ["default".to_owned()];
        let new = NewSession {
            id: session,
            instance: "bench",
            host: "here",
            pid: 1,
            slots: 1,
            queues: &queues,
            labels: &[],
            lease: Duration::from_secs(3600),
        };
        runner::open(&pool, &new).await.unwrap();
        Self { pool, session }
    }

    /// One claim, and an end to what was claimed; seconds of the claim.
    async fn one(&self) -> f64 {
        let began = Instant::now();
        let claimed = claim(&self.pool, self.session, "default", &[], 1).await.unwrap();
        let took = began.elapsed();
        assert_eq!(claimed.len(), 1, "there is always something to claim");
        let settlement = Settlement {
            fence: claimed[0].fence,
            ending: Ending::Succeeded,
            step: None,
        };
        settle(&self.pool, self.session, &[settlement]).await.unwrap();
        tokio::time::sleep(PACE.saturating_sub(began.elapsed())).await;
        took.as_secs_f64()
    }

    async fn over(&self, time: Duration) -> Vec<f64> {
        let began = Instant::now();
        let mut took = Vec::new();
        while began.elapsed() < time {
            took.push(self.one().await);
        }
        took
    }

    /// Claims from `due` until nothing of it is left to fire.
    async fn until(&self, pool: &Pool, due: &str) -> Vec<f64> {
        let wait = ask(
            pool,
            &format!("extract(epoch from timestamptz '{due}' - clock_timestamp())"),
        )
        .await;
        self.over(Duration::from_secs_f64(wait.parse().unwrap())).await;
        let left = format!("exists (select from schedule where paused_at is null and fire_at <= '{due}')");
        let fired = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn({
            let (pool, fired) = (pool.clone(), Arc::clone(&fired));
            async move {
                while ask(&pool, &left).await == "true" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                fired.store(true, Ordering::Relaxed);
            }
        });
        let mut took = Vec::new();
        while !fired.load(Ordering::Relaxed) {
            took.push(self.one().await);
        }
        watch.await.unwrap();
        took
    }

    async fn stop(self) {
        runner::close(&self.pool, self.session).await.unwrap();
        self.pool.close().await;
    }
}

/// What a scheduler asks when nothing is due, of everything it does.
async fn idle(options: &Options, report: &Report, pool: &Pool) {
    // What it does when it starts is no idleness.
    while ask(pool, "select events_behind from report.freshness").await != "0" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(if options.smoke { 1 } else { 15 })).await;
    let time = Duration::from_secs(if options.smoke { 2 } else { 60 });
    tell(pool, "select pg_stat_statements_reset()").await;
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let noted = "from pg_stat_statements join pg_database on oid = dbid
                  where datname = current_database() and query not like '%pg_stat_statements%'";
    let number = async |what: &str| {
        ask(pool, &format!("select {what} {noted}"))
            .await
            .parse::<f64>()
            .unwrap()
    };
    let (calls, spent) = (number("sum(calls)").await, number("sum(total_exec_time)").await);
    let seconds = began.elapsed().as_secs_f64();
    report.figure(
        "idle scheduler: statements a second",
        calls / seconds,
        "1/s",
        None,
        Goal::AtMost(1.0),
    );
    report.say(
        "idle scheduler: time PostgreSQL spends on one",
        spent / calls,
        "ms",
    );
    report.say(
        "idle scheduler: time PostgreSQL spends in a second",
        spent / seconds,
        "ms",
    );
}

/// The value that so many of a hundred do not exceed.
fn percentile(values: &[f64], share: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() * share / 100).min(values.len() - 1)]
}
