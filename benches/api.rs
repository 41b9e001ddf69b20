//! `cargo bench --bench api`: how long a page of jobs takes with a million of them, over 16 connections that each ask
//! again as soon as they are answered; server, database and callers share the processors. `-- --smoke` does a hundredth
//! of the work, `-- --json` prints one object a line, and names measure only those lists.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]

#[expect(dead_code, reason = "the bench of the queue uses what this does not")]
mod support;

use std::time::{Duration, Instant};

use orchestrator::app::environment::first_project_and_token;
use orchestrator::domain::clock;
use orchestrator::domain::environment::Alias;
use orchestrator::domain::token::generate;
use secrecy::ExposeSecret as _;
use support::client::Connection;
use support::{Goal, Options, Report, Server};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 16;
/// The slowest of a hundred pages is to take no longer than this.
const GOAL_MS: f64 = 20.0;

/// Jobs over thirty days, in ten projects and four queues, nine of ten ended well; a tag of every tenth and one of every
/// ten thousandth.
const FILL: &str = r#"
    insert into project (id, alias, directory) select gen_random_uuid(), 'project-' || n, '/srv' from generate_series(1, 9) as n;
    create temporary table place on commit preserve rows as
    select id, row_number() over () - 1 as n from project;
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at, code)
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(made.n), 12, '0'))::uuid,
           place.id, 'queue-' || made.n % 4,
           (case when made.n % 100 = 0 then 'scheduled' when made.n % 10 = 1 then 'failed' else 'succeeded' end)::job_state,
           0, at, 3, case when made.n % 100 = 0 then 0 else 1 end, at, case when made.n % 100 > 0 then at end,
           case when made.n % 100 > 0 then at end, case when made.n % 10 = 1 then 'exit_nonzero' end
      from (select n, now() - interval '30 days' * (1.001 - n / {jobs}.0) as at from generate_series(1, {jobs}) as n) as made
      join place on place.n = made.n % 10;
    insert into job_spec (job_id, of_project, spec, request_hash)
    select job.id, project_id, jsonb_build_object('goal', 'Build and test', 'project_id', 'bench', 'queue', queue, 'priority', 0, 'metadata', '{}'::jsonb,
                                      'tags', case when n % 10000 = 0 then '["nightly", "rare"]' when n % 10 = 0 then '["nightly"]' else '[]' end::jsonb,
                                      'steps', '[{"step_id": "build", "argv": ["make"]}, {"step_id": "test", "argv": ["make", "test"]}]'::jsonb), sha256('')
      from (select id, project_id, queue, row_number() over () as n from job) as job;
    analyze;
    checkpoint;"#;

/// What is asked for. Of `walk` and `deep` each page is the one behind the last, by its cursor: from the newest job, and
/// from the middle.
const LISTS: [(&str, &str); 10] = [
    ("first-page", ""),
    ("walk", ""),
    ("deep", "created_before={middle}"),
    ("state", "state=failed"),
    ("project", "project=project-3"),
    ("project-and-state", "project=project-3&state=failed"),
    ("queue", "queue=queue-2"),
    ("tag", "tag=nightly"),
    ("rare-tag", "tag=rare"),
    ("code", "code=exit_nonzero"),
];

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    runtime.block_on(run(&options, &server));
    drop(runtime);
}

async fn run(options: &Options, server: &Server) {
    let report = Report::new(options, &server.version().await);
    let database = server.database("pages").await;
    let pool = database.pool(2);
    let secret = generate();
    let bench = Alias {
        alias: "bench".into(),
        directory: "/srv/bench".into(),
    };
    first_project_and_token(&pool, &bench, &secret).await.unwrap();
    let jobs = options.size(1_000_000);
    database
        .at_length(&FILL.replace("{jobs}", &jobs.to_string()))
        .await;
    let unlimited = [
        ("WEBHOOK_RATE_LIMIT_MAX_REQUESTS", "0"),
        ("LOG_LEVEL", "warn,orchestrator=info"),
    ];
    let mut service = database.service(&["api", "--bind", "127.0.0.1:0"], &unlimited);
    let said = service.hear("API listening");
    let address = said.split("http.address=").nth(1).unwrap().trim().to_owned();
    let middle = (clock::now() - Duration::from_secs(15 * 86400)).format("%FT%TZ");
    for (name, query) in LISTS.iter().filter(|(name, _)| options.wants(name)) {
        let query = query.replace("{middle}", &middle.to_string());
        let path = format!("/api/v1/jobs?{query}");
        let walks = matches!(*name, "walk" | "deep");
        let times = load(
            &address,
            secret.expose_secret(),
            &path,
            walks,
            options.size(16_000),
        )
        .await;
        say(&report, name, times);
    }
}

/// Asks for `pages` pages over all connections, and answers with how long each took and all together.
async fn load(address: &str, token: &str, path: &str, walk: bool, pages: usize) -> (Vec<Duration>, Duration) {
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let (first, mut connection) = (path.to_owned(), Connection::open(address, token).await);
        callers.spawn(async move {
            let mut next = first.clone();
            let mut times = Vec::new();
            for _ in 0..pages.div_ceil(CONNECTIONS) {
                let began = Instant::now();
                let (status, body) = connection.get(&next).await;
                assert_eq!(status, 200);
                times.push(began.elapsed());
                if walk {
                    let page: serde_json::Value = serde_json::from_slice(body).unwrap();
                    next = match page["next_cursor"].as_str() {
                        Some(cursor) => format!("{first}&cursor={cursor}"),
                        None => first.clone(),
                    };
                }
            }
            times
        });
    }
    let times = callers.join_all().await.concat();
    (times, began.elapsed())
}

fn say(report: &Report, name: &str, (mut times, all): (Vec<Duration>, Duration)) {
    times.sort();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    report.say(
        &format!("{name}: pages"),
        times.len() as f64 / all.as_secs_f64(),
        "a second",
    );
    report.say(&format!("{name}: p50"), at(0.5), "ms");
    let p99 = at(0.99);
    report.figure(&format!("{name}: p99"), p99, "ms", None, Goal::AtMost(GOAL_MS));
}
