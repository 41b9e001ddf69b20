//! Whether every promise was kept, asked of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use orchestrator::store::Pool;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::JOBS;
use super::callers::Accepted;
use super::ground::{Ground, keeps};
use crate::support::{ask, tell, until};

/// Writes down, in the transactions themselves, when attempts begin and end and what is written in their name. Each
/// such write holds its job's row, so the numbers are in the order of the commits.
const WATCH: &str = "
    create table watched (
        number bigint generated always as identity primary key,
        job_id uuid not null, attempt integer not null, what text not null, transaction xid8 not null default pg_current_xact_id()
    );
    create index on watched (job_id, attempt);
    create function watch_job() returns trigger language plpgsql as $$ begin
        if new.state = 'running' and old.state <> 'running' then
            insert into watched (job_id, attempt, what) values (new.id, new.attempt, 'begin');
        elsif old.state = 'running' and new.state <> 'running' then
            insert into watched (job_id, attempt, what) values (old.id, old.attempt, 'end');
        elsif old.state = 'running' and new.step_position <> old.step_position then
            insert into watched (job_id, attempt, what) values (old.id, old.attempt, 'move');
        end if;
        return null;
    end $$;
    create trigger watch_job after update on job for each row execute function watch_job();
    create function watch_row() returns trigger language plpgsql as $$ begin
        insert into watched (job_id, attempt, what) values (new.job_id, new.attempt, tg_table_name);
        return null;
    end $$;
    create trigger watch_step after insert on step for each row execute function watch_row();
    create trigger watch_log after insert on log for each row execute function watch_row();
    create trigger watch_artifact after insert or update on artifact for each row execute function watch_row();
    create table accepted (key text primary key, job_id uuid not null, ends text[] not null);
    create table effect (number bigint primary key, job_id uuid not null, attempt integer not null, step_id text not null);";

/// Each counts what must not be.
const PROMISES: [(&str, &str); 17] = [
    (
        "an accepted request without its job",
        "select count(*) from accepted left join job_key using (key, job_id) left join job on job.id = accepted.job_id
          where job_key.job_id is null or job.id is null",
    ),
    (
        "a job that nobody asked for",
        "select count(*) from job where id not in (select job_id from accepted)",
    ),
    (
        "a job that did not end as it must",
        "select count(*) from accepted join job on job.id = accepted.job_id where concat_ws(' ', state, code) <> all (ends)",
    ),
    (
        "a job without one end in the audit log",
        "select count(*) from job where 1 <> (select count(*) from event where job_id = job.id and kind in ('job.succeeded', 'job.failed', 'job.cancelled'))
            or not exists (select from event where job_id = job.id and kind = 'job.' || state)",
    ),
    (
        "a job whose attempts are not 1 to n",
        "select count(*) from job left join (select job_id, count(*) as rows, max(number) as last from attempt group by job_id) as tried on job_id = id
          where (coalesce(rows, 0), coalesce(last, 0)) <> (attempt, attempt)",
    ),
    (
        "an attempt that began or ended twice, or not at all",
        "select count(*) from attempt where 1 <> (select count(*) from watched where job_id = attempt.job_id and watched.attempt = attempt.number and what = 'begin')
            or 1 <> (select count(*) from watched where job_id = attempt.job_id and watched.attempt = attempt.number and what = 'end')",
    ),
    (
        "an attempt that began before the one before it ended",
        "select count(*) from watched as begun join watched as other on other.job_id = begun.job_id and other.attempt = begun.attempt - 1 and other.what = 'end'
          where begun.what = 'begin' and begun.number < other.number",
    ),
    (
        "a write before its attempt began or after its end",
        "select count(*) from watched as written
          where not exists (select from watched where job_id = written.job_id and attempt = written.attempt and what = 'begin' and number <= written.number)
             or exists (select from watched where job_id = written.job_id and attempt = written.attempt and what = 'end' and number < written.number
                                              and transaction <> written.transaction)",
    ),
    (
        "a step that ran twice in one attempt",
        "select count(*) from (select from effect group by job_id, attempt, step_id having count(*) > 1) as doubled",
    ),
    (
        "a job with more effects of a step than attempts",
        "select count(*) from (select job_id, step_id, count(*) as times from effect group by job_id, step_id) as counted
           join job on job.id = job_id where times > job.attempt",
    ),
    (
        "an effect of an attempt after one of the next",
        "select count(*) from effect join effect as next on next.job_id = effect.job_id and next.attempt > effect.attempt
          where effect.number > next.number",
    ),
    (
        "a step that succeeded without having run",
        "select count(*) from step where status = 'succeeded' and (job_id, attempt, step_id) not in (select job_id, attempt, step_id from effect)",
    ),
    (
        "a job that succeeded without each of its steps",
        "select count(*) from job join job_spec on job_spec.job_id = id where state = 'succeeded'
            and jsonb_array_length(spec -> 'steps') <> (select count(distinct position) from step where step.job_id = id and status = 'succeeded')",
    ),
    (
        "more attempts at once than a key allows",
        "with keyed as (
            select job.id, project_id, concurrency_key, concurrency_limit, begun.number as from_, ended.number as to_
              from job join watched as begun on begun.job_id = job.id and begun.what = 'begin'
              join watched as ended on ended.job_id = job.id and ended.attempt = begun.attempt and ended.what = 'end'
             where concurrency_key is not null)
         select count(*) from keyed where concurrency_limit < (select count(*) from keyed as other
             where other.concurrency_key = keyed.concurrency_key and other.from_ <= keyed.from_ and other.to_ > keyed.from_)",
    ),
    (
        "a job that began before what it needs had ended well",
        "select count(*) from job_need join job as need on need.id = needs_id join watched as begun on begun.job_id = job_need.job_id and begun.what = 'begin'
          where need.state <> 'succeeded' or begun.number < (select max(number) from watched where job_id = needs_id and what = 'end')",
    ),
    (
        "an attempt that began before its job was due",
        "select count(*) from attempt join job_spec using (job_id) where started_at < (spec ->> 'run_at')::timestamptz",
    ),
    (
        "a job or a session that still runs",
        "select (select count(*) from job where state = 'running' or runner_id is not null) + (select count(*) from runner where ended_at is null and lease_expires_at > now())",
    ),
];

/// Lets the tables write down what happens.
pub(super) async fn watch(pool: &Pool) {
    tell(pool, WATCH).await;
}

/// Waits until no job is open, as long as a test may take.
pub(super) async fn until_all_ended(pool: &Pool, last: Instant) {
    loop {
        let open: i64 = sqlx::query_scalar("select count(*) from job where finished_at is null")
            .fetch_one(pool)
            .await
            .unwrap();
        if open == 0 {
            return;
        }
        let states = "select string_agg(distinct concat_ws(' ', state, gate, run_at > now()), ', ') from job where finished_at is null";
        assert!(
            Instant::now() < last,
            "{open} jobs do not end: {}",
            ask(pool, states).await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks everything; says all that was broken.
pub(super) async fn judge(ground: &Ground, accepted: &BTreeMap<String, Accepted>) {
    assert_eq!(accepted.len(), JOBS);
    bring_in(ground, accepted).await;
    let mut broken = Vec::new();
    for (what, question) in PROMISES {
        let found = ask(&ground.pool, question).await;
        if found != "0" {
            broken.push(format!("{what}: {found}"));
        }
    }
    broken.extend(
        said_twice(ground)
            .into_iter()
            .map(|line| format!("said twice: {line}")),
    );
    broken.extend(unlike(ground).await);
    broken.extend(faults(ground));
    if !broken.is_empty() {
        keep(ground);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    until(async || orphans(ground).is_empty().then_some(())).await;

    // It was disorder: what must be survived did happen.
    let lost = ask(
        &ground.pool,
        "select count(*) from attempt where outcome = 'lost'",
    )
    .await;
    let late = discarded(ground).len();
    println!("attempts lost with their runner: {lost}; results that came too late: {late}");
    assert_ne!(lost, "0");
}

/// What the callers and the steps know.
async fn bring_in(ground: &Ground, accepted: &BTreeMap<String, Accepted>) {
    let jobs: Vec<Uuid> = accepted.values().map(|one| one.job.0).collect();
    let ends: Vec<String> = accepted.values().map(|one| one.kind.ends().join("|")).collect();
    sqlx::query("insert into accepted select key, job_id, string_to_array(ends, '|') from unnest($1::text[], $2::uuid[], $3::text[]) as told (key, job_id, ends)")
        .bind(accepted.keys().cloned().collect::<Vec<_>>())
        .bind(jobs)
        .bind(ends)
        .execute(&ground.pool)
        .await
        .unwrap();
    let effects = fs::read_to_string(&ground.effects).unwrap();
    sqlx::query("insert into effect select number, split_part(line, ' ', 1)::uuid, split_part(line, ' ', 2)::int, split_part(line, ' ', 3) from unnest($1::text[]) with ordinality as said (line, number)")
        .bind(effects.lines().map(str::to_owned).collect::<Vec<_>>())
        .execute(&ground.pool)
        .await
        .unwrap();
    tell(&ground.pool, "analyze").await;
}

/// Artifacts whose files do not hold what the tables say.
async fn unlike(ground: &Ground) -> Vec<String> {
    let rows: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as("select job_id, path, sha256 from artifact")
        .fetch_all(&ground.pool)
        .await
        .unwrap();
    assert!(rows.len() > JOBS, "{} artifacts", rows.len());
    let broken = rows.iter().filter_map(|(job, path, sha256)| {
        let file = ground
            .directory
            .join("artifacts")
            .join(job.to_string())
            .join(path);
        let bytes = fs::read(&file).unwrap_or_default();
        (Sha256::digest(&bytes)[..] != sha256[..])
            .then(|| format!("not what its row says: {}", file.display()))
    });
    broken.collect()
}

/// Where runners said that an attempt's result came too late: of which attempt.
fn discarded(ground: &Ground) -> Vec<String> {
    let lines = ground.said.iter().flat_map(|said| said.lines());
    let late = lines.filter(|line| line.contains("this attempt's result is discarded"));
    let after = |line: &str, name: &str| {
        let value = line.rsplit_once(name).map_or("", |(_, value)| value);
        value.split_whitespace().next().unwrap_or_default().to_owned()
    };
    late.map(|line| format!("{} {}", after(line, "job.id="), after(line, "attempt=")))
        .collect()
}

fn said_twice(ground: &Ground) -> Vec<String> {
    let mut once = BTreeSet::new();
    let all = discarded(ground);
    all.into_iter()
        .filter(|line| !once.insert(line.clone()))
        .collect()
}

/// What no service is to say, whatever is done to it.
fn faults(ground: &Ground) -> Vec<String> {
    let lines = ground.said.iter().flat_map(|said| said.lines());
    let faults =
        lines.filter(|line| line.contains("panicked at") || line.contains("a fault of this program"));
    faults
        .map(|line| format!("a service met a fault: {line}"))
        .collect()
}

/// Waits until nothing is left of what steps wanted to leave behind, while their runners go on.
pub(super) async fn until_no_daemons(ground: &Ground) {
    let left = || {
        let all = orphans(ground);
        all.into_iter().filter(|one| one.contains("sleep 900")).count()
    };
    until(async || (left() == 0).then_some(())).await;
}

/// Processes that were started here and outlived everyone: the directory is in their arguments or in what they
/// were started with.
fn orphans(ground: &Ground) -> Vec<String> {
    let mark = ground.directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let about = |file: &std::path::Path| {
        String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).replace('\0', " ")
    };
    processes
        .map(|process| {
            (
                about(&process.path().join("cmdline")),
                about(&process.path().join("environ")),
            )
        })
        .filter(|(arguments, environment)| {
            !arguments.contains("postgres") && format!("{arguments} {environment}").contains(mark)
        })
        .map(|(arguments, _)| arguments)
        .chain(
            ground
                .kept
                .iter()
                .filter(|process| keeps(**process))
                .map(|process| format!("keeper {process}")),
        )
        .collect()
}

/// What the services said, for whoever looks into it.
fn keep(ground: &Ground) {
    let file = std::env::temp_dir().join("chaos.log");
    fs::write(&file, ground.said.join("\n")).unwrap();
    println!("what the services said is in {}", file.display());
}
