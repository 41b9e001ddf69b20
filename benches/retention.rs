//! `cargo bench --bench retention`: what finished rows cost while they expire.
//!
//! A table that was in use for long is swept by what a scheduler runs, while jobs are put in, claimed and
//! settled as fast as they go. By turns: three parts of the time with it and one without, until nothing old is left,
//! so that a machine that is slow for a while, and tables that grow, are the same to both. Durable settings.
//! `-- --rows N` is how many rows there are (5,000,000), `-- --seconds N` how long the load runs by itself
//! each time (20), `-- --json` prints one object a line.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    dead_code,
    reason = "support is shared by programs that use different parts of it"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orchestrator::domain::attempt::Ending;
use orchestrator::domain::id::RunnerId;
use orchestrator::domain::retention::Retention;
use orchestrator::objects::Objects;
use orchestrator::scheduler::upkeep;
use orchestrator::shutdown::Stop;
use orchestrator::store::claim::{Claimed, claim};
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{Pool, runner};
use support::{Database, Server, ask, tell};

/// Rows of a job that ended: itself, its specification, an attempt, a step, a piece of its log, three events.
const ROWS_A_JOB: u64 = 8;
/// The goal: less than a fifth is lost.
const MOST_LOST: f64 = 0.2;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const FILL: &str = "
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at)
    select (left(uuid_at(at)::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, project.id, 'old', 'succeeded', 0, at, 3, 1, at, at, at
      from (select n, now() - interval '40 days' + n * interval '30 days' / {jobs} as at from generate_series(1, {jobs}) as n) as made, project;
    insert into job_spec (job_id, of_project, spec, request_hash)
    select id, project_id, '{\"goal\": \"g\", \"project_id\": \"bench\", \"steps\": [{\"step_id\": \"a\", \"argv\": [\"true\"]}]}', sha256('') from job;
    insert into attempt (job_id, number, runner_id, due_at, started_at, ended_at, outcome)
    select id, 1, '01980000-0000-7000-8000-000000000001', run_at, started_at, finished_at, 'succeeded' from job;
    insert into step (job_id, attempt, ordinal, position, step_id, agent, status, started_at, finished_at)
    select id, 1, 0, 0, 'a', 'command', 'succeeded', started_at, finished_at from job;
    insert into log (job_id, attempt, seq, position, stream, at, body) select id, 1, 0, 0, 'stdout', started_at, 'a line of output' from job;
    insert into event (at, project_id, job_id, attempt, kind, actor)
    select finished_at, project_id, id, case word when 'submitted' then null else 1 end, 'job.' || word, 'runner:old'
      from job, unnest(array['submitted', 'running', 'succeeded']) as word order by finished_at;
    analyze;
    checkpoint;";

struct Options {
    rows: u64,
    seconds: u64,
    json: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            rows: 5_000_000,
            seconds: 20,
            json: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || {
                words
                    .next()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or_else(|| panic!("{word}: how many?"))
            };
            match word.as_str() {
                // What cargo itself says.
                "--bench" => {}
                "--json" => options.json = true,
                "--rows" => options.rows = number(),
                "--seconds" => options.seconds = number(),
                other => panic!("{other}: not known; there are --rows N, --seconds N and --json"),
            }
        }
        options
    }

    fn say(&self, name: &str, value: f64, unit: &str, ok: Option<bool>) {
        if self.json {
            println!(
                "{}",
                serde_json::json!({ "name": name, "value": value, "unit": unit, "ok": ok })
            );
        } else {
            let judged = ok.map_or("", |ok| if ok { "ok" } else { "MISSED" });
            println!("{name:<50} {value:>12.3} {unit:<8} {judged}");
        }
    }
}

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    runtime.block_on(async { measure(&options, &server.database("retention").await).await });
    drop(runtime);
}

async fn measure(options: &Options, database: &Database) {
    let pool = database.pool(8);
    let jobs = options.rows / ROWS_A_JOB;
    let administrator = database.pool(1);
    database
        .at_length(&FILL.replace("{jobs}", &jobs.to_string()))
        .await;
    let load = Load::start(&pool).await;
    let turn = Duration::from_secs(options.seconds);
    let (mut alone, mut beside) = (Share::default(), Share::default());
    // Caches and connections first.
    load.run(turn / 4).await;
    alone.add(load.run(turn).await);
    assert!(jobs == 0 || !is_done(&administrator).await);
    while !is_done(&administrator).await {
        let (began, done) = (Instant::now(), load.done());
        expire(database, &administrator, turn * 3).await;
        beside.add((load.done() - done, began.elapsed()));
        alone.add(load.run(turn).await);
    }
    load.stop().await;
    let lost = 1.0 - beside.rate() / alone.rate();
    let expired = (jobs * ROWS_A_JOB) as f64;
    options.say("load by itself", alone.rate(), "jobs/s", None);
    options.say("load while rows expire", beside.rate(), "jobs/s", None);
    options.say("rows expired", expired, "rows", None);
    options.say("expiry", expired / beside.time.as_secs_f64(), "rows/s", None);
    options.say("share of the load lost", lost, "ratio", Some(lost < MOST_LOST));
}

/// What was done in a part of the time.
#[derive(Default)]
struct Share {
    done: u64,
    time: Duration,
}

impl Share {
    fn add(&mut self, (done, time): (u64, Duration)) {
        self.done += done;
        self.time += time;
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.time.as_secs_f64()
    }
}

/// Runs what a scheduler runs beside its tick, for so long or until nothing old is left.
async fn expire(database: &Database, pool: &Pool, time: Duration) {
    let retention = Retention {
        every: Duration::from_millis(200),
        logs: Some(DAY),
        steps: None,
        attempts: None,
        artifacts: None,
        jobs: Some(DAY),
        events: Some(DAY),
        occurrences: Some(DAY),
        deliveries: None,
        runners: None,
        reports: None,
        keys: DAY,
    };
    let stop = Stop::default();
    let upkeep = tokio::spawn(upkeep::run(
        database.pool(4),
        Objects::directory(std::path::Path::new("/nonexistent/artifacts")),
        retention,
        stop.clone(),
    ));
    let began = Instant::now();
    while began.elapsed() < time && !is_done(pool).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.hard();
    upkeep.await.unwrap();
}

async fn is_done(pool: &Pool) -> bool {
    // By the beginning of two keys: what is asked each second must not be a load of its own.
    let old = "(exists (select from job where id < uuid_at(now() - interval '5 days'))
                    or (select at from event order by id limit 1) < now() - interval '5 days')";
    ask(pool, old).await == "false"
}

/// Jobs put in, claimed and settled, fifty at a time over four connections, until told to stop.
struct Load {
    workers: Vec<tokio::task::JoinHandle<()>>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn start(pool: &Pool) -> Self {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let session = RunnerId::generate();
        let queues = ["default".to_owned()];
        let new = NewSession {
            id: session,
            instance: "bench",
            host: "here",
            pid: 1,
            slots: 200,
            queues: &queues,
            labels: &[],
            lease: 100 * DAY,
        };
        runner::open(pool, &new).await.unwrap();
        let work = |_| tokio::spawn(work(pool.clone(), session, Arc::clone(&done), Arc::clone(&stop)));
        Self {
            workers: (0..4).map(work).collect(),
            done,
            stop,
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Lets it run for so long; answers with what it did.
    async fn run(&self, time: Duration) -> (u64, Duration) {
        let (began, done) = (Instant::now(), self.done());
        tokio::time::sleep(time).await;
        (self.done() - done, began.elapsed())
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

async fn work(pool: Pool, session: RunnerId, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let put = "with made as (insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
                              select (left(uuid_at(clock_timestamp())::text, 18) || right(gen_random_uuid()::text, 18))::uuid, id, 'default', 'available', 0, now(), 3
                                from project, generate_series(1, 50) returning id, project_id),
                    specified as (insert into job_spec (job_id, of_project, spec, request_hash) select id, project_id, '{}', sha256('') from made)
               insert into event (project_id, job_id, kind, actor) select project_id, id, 'job.submitted', 'token:bench' from made";
    while !stop.load(Ordering::Relaxed) {
        tell(&pool, put).await;
        let claimed = claim(&pool, session, "default", &[], 50).await.unwrap();
        let batch: Vec<Settlement> = claimed.iter().map(succeeded).collect();
        let settled = settle(&pool, session, &batch).await.unwrap();
        done.fetch_add(settled.len() as u64, Ordering::Relaxed);
    }
}

fn succeeded(job: &Claimed) -> Settlement {
    Settlement {
        fence: job.fence,
        ending: Ending::Succeeded,
        step: None,
    }
}
