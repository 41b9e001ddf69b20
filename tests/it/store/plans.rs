//! No statement that services make reads a whole large table.
//!
//! PostgreSQL itself counts sequential scans; the statements are made through the functions that
//! services call, often enough that generic plans come into use, before and after statistics exist.

use std::time::Duration;

use orchestrator::app::follow::follow;
use orchestrator::app::hint::Hints;
use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::domain::id::{JobId, ProjectId, RunnerId};
use orchestrator::domain::job::{Code, JobState};
use orchestrator::domain::page::Cursor;
use orchestrator::domain::token::TokenHash;
use orchestrator::store::ended::Ended;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{
    Pool, approval, artifact, attempt, claim, database as pools, event, expire, gate, history, insert, job,
    log, need, project, runner, stats, step, token, usage, workspace,
};

use super::{demo, due, new, session, spec};
use crate::support::{ask, database, tell};

/// A worker that comes by changes the statistics, and reads a table for each range of an index that it sums up.
const QUIET: &str = "
    alter table job set (autovacuum_enabled = false);
    alter table job_spec set (autovacuum_enabled = false);
    alter table job_tag set (autovacuum_enabled = false);
    alter table event set (autovacuum_enabled = false);
    alter table attempt set (autovacuum_enabled = false);
    alter table step set (autovacuum_enabled = false);
    alter table log set (autovacuum_enabled = false);
    alter table artifact set (autovacuum_enabled = false);
    alter table workspace set (autovacuum_enabled = false);
    alter index step_by_time set (autosummarize = off);
    alter index attempt_by_time set (autosummarize = off);
    alter index event_by_time set (autosummarize = off)";

/// Rows of every state, most of them ended, as in a table that was in use for long.
const FILL: &str = "
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, started_at, finished_at)
    select ('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, project.id, 'queue-' || n % 3,
           (case when n % 100 = 0 then 'available' when n % 100 = 1 then 'scheduled' else 'succeeded' end)::job_state,
           n % 5, now() + case when n % 100 = 1 then interval '1 day' else interval '-1 day' end, 3,
           case when n % 100 > 1 then 1 else 0 end, case when n % 100 > 1 then now() end,
           case when n % 100 > 1 then now() end
      from generate_series(1, 100000) as n, project where alias = 'demo';
    insert into job_spec (job_id, of_project, spec, request_hash)
    select id, project_id, jsonb_build_object('queue', queue, 'tags', case when priority = 1 then jsonb_build_array('some') else '[]' end), sha256('') from job
        on conflict do nothing;
    insert into event (project_id, job_id, kind, actor) select project_id, id, 'job.submitted', 'test' from job;
    insert into attempt (job_id, number, runner_id, started_at, ended_at, outcome)
    select job.id, 1, runner.id, now(), now(), 'succeeded' from job, runner where state = 'succeeded';
    insert into step (job_id, attempt, ordinal, position, step_id, agent, status, started_at, finished_at)
    select job_id, 1, 0, 0, 'a', 'command', 'succeeded', now(), now() from attempt;
    insert into log (job_id, attempt, seq, position, stream, at, body)
    select job_id, 1, 0, 0, 'stdout', now(), 'hello' from attempt;
    insert into artifact (job_id, path, attempt, ordinal, size, sha256, media_type)
    select job_id, path, 1, case when path <> 'report.md' then 0 end, 0, sha256(''), 'text/plain'
      from attempt, unnest('{report.md,steps/a/report.md,steps/a/patch.diff}'::text[]) as path;
    insert into workspace (job_id, host, kind, base) select job_id, 'host', 'empty', '' from attempt;
    insert into occurrence (schedule_id, due_at, decision, reason, job_id, outcome)
    select schedule.id, started_at + interval '1 second' * row_number() over (order by job.id), 'fired', 'on_time', job.id,
           case when row_number() over (order by job.id) > 1 then 'succeeded' end
      from job, schedule where job.state = 'succeeded';";

/// One of them that has ended.
const ENDED: &str = "01980000-0000-7000-8000-000000000002";

/// A schedule that made the one job there is.
const MADE: &str = r#"
    insert into schedule (id, project_id, name, expression, spec, next_due_at, fire_at)
    select gen_random_uuid(), project_id, 'maker', '@daily', spec, now() + interval '1 day', now() + interval '1 day'
      from job join job_spec on job_id = id;
    insert into occurrence (schedule_id, due_at, decision, reason, job_id)
    select schedule.id, now(), 'fired', 'on_time', job.id from schedule, job"#;

struct Tables {
    /// One connection: its statements are prepared once, and its counts are its own.
    pool: Pool,
    project: ProjectId,
    runner: RunnerId,
    job: JobId,
    fence: Fence,
}

impl Tables {
    async fn scans(&self) -> i64 {
        ask(&self.pool, "select pg_stat_force_next_flush()").await;
        let count = "select sum(seq_scan) from pg_stat_user_tables where relname in ('job', 'job_spec', 'job_tag', 'event', 'log', 'step', 'attempt', 'artifact', 'workspace')";
        ask(&self.pool, count).await.parse().unwrap()
    }

    /// Rows and entries of indexes that were read.
    async fn read(&self) -> i64 {
        ask(&self.pool, "select pg_stat_force_next_flush()").await;
        let count = "(select sum(seq_tup_read) from pg_stat_user_tables) + (select sum(idx_tup_read) from pg_stat_user_indexes)";
        ask(&self.pool, count).await.parse().unwrap()
    }

    async fn hold(&self, what: &str, call: impl AsyncFn(&Self)) {
        let before = self.scans().await;
        for _ in 0..8 {
            call(self).await;
        }
        assert_eq!(self.scans().await, before, "{what} reads a whole table");
    }

    async fn hold_all(&self) {
        self.hold_keyed().await;
        self.hold("insert", async |t| {
            due(&t.pool, t.project).await;
        })
        .await;
        self.hold("key holder", async |t| {
            insert::holders(&t.pool, t.project, &["key"]).await.unwrap();
            insert::unique_holder(&t.pool, t.project, "key").await.unwrap();
        })
        .await;
        self.hold("promote", async |t| {
            drop(expire::promote(&t.pool, None, 100).await.unwrap());
        })
        .await;
        self.hold("expire", async |t| {
            drop(expire::expire(&t.pool, None, 100).await.unwrap());
        })
        .await;
        self.hold("what was missed", async |t| {
            gate::keys_with_room(&t.pool, None, 100).await.unwrap();
            gate::projects_with_room(&t.pool).await.unwrap();
            need::untold(&t.pool, 100).await.unwrap();
        })
        .await;
        self.hold("metrics", async |t| {
            stats::open_jobs(&t.pool).await.unwrap();
            stats::oldest_available_sec(&t.pool).await.unwrap();
        })
        .await;
        self.hold_reads().await;
    }

    /// What goes over [`pools::keyed`].
    async fn hold_keyed(&self) {
        self.hold("claim", async |t| {
            drop(claim::claim(&t.pool, t.runner, "queue-1", &[], 5).await.unwrap());
        })
        .await;
        self.hold("an empty claim", async |t| {
            drop(claim::claim(&t.pool, t.runner, "empty", &[], 5).await.unwrap());
        })
        .await;
        self.hold("a claim behind the last, and one that was not heard", async |t| {
            if let [job, ..] = &*claim::claim(&t.pool, t.runner, "queue-0", &[], 1).await.unwrap() {
                let behind = claim::claim_behind(&t.pool, t.runner, "queue-0", &[], 5, job.into());
                drop(behind.await.unwrap());
            }
            assert!(!claim::not_begun(&t.pool, t.runner, &[]).await.unwrap().is_empty());
        })
        .await;
        self.hold("settle", async |t| {
            drop(
                settle(&t.pool, t.runner, &t.some_settlements().await)
                    .await
                    .unwrap(),
            );
        })
        .await;
        self.hold("what limits let in", async |t| {
            gate::admit_key(&t.pool, t.project, "key").await.unwrap();
            gate::admit_project(&t.pool, t.project).await.unwrap();
        })
        .await;
        self.hold("what needs hear", async |t| {
            // One that is held, and one of those that ended, once there are any: a schedule made them.
            let ended = [t.job, JobId(ENDED.parse().unwrap())].map(|job| Ended {
                job,
                queue: None,
                needed: true,
                gates: Vec::new(),
            });
            follow(&t.pool, &Hints::default(), &ended).await.unwrap();
        })
        .await;
        self.hold("renew", async |t| {
            assert!(
                runner::renew(&t.pool, t.runner, Duration::from_secs(3600))
                    .await
                    .unwrap()
                    .is_some()
            );
        })
        .await;
        self.hold("append to the log", async |t| {
            let output = log::Output {
                fence: t.fence,
                lines: Vec::new(),
            };
            log::append(&t.pool, t.runner, &[output]).await.unwrap();
        })
        .await;
        self.hold("what came before", async |t| {
            history::past(&t.pool, t.job).await.unwrap();
            history::spent(&t.pool, t.job).await.unwrap();
            history::answers(&t.pool, t.job).await.unwrap();
            log::tail(&t.pool, t.fence, 0, 100).await.unwrap();
            usage::told(&t.pool, t.job).await.unwrap();
        })
        .await;
        self.hold("what attempts leave behind", async |t| {
            let origin = workspace::NewOrigin {
                fence: t.fence,
                host: "host".to_owned(),
                kind: "empty",
                base: String::new(),
            };
            workspace::put(&t.pool, t.runner, &[origin]).await.unwrap();
            let mut connection = t.pool.acquire().await.unwrap();
            let lease = Duration::from_secs(60);
            let held = artifact::hold(&mut connection, t.runner, &[t.fence], lease).await;
            assert_eq!(held.unwrap().len(), 1);
            let noted = artifact::Noted {
                fence: t.fence,
                step: Some((0, "steps/a")),
                artifacts: vec![artifact::NewArtifact {
                    path: "steps/a/report.md".to_owned(),
                    size: 0,
                    sha256: [0; 32],
                    media_type: "text/plain",
                }],
            };
            artifact::prune(&mut *connection, &noted).await.unwrap();
            artifact::put(&mut *connection, &[noted]).await.unwrap();
            artifact::last_patch(&mut *connection, t.job).await.unwrap();
        })
        .await;
    }

    async fn hold_reads(&self) {
        self.hold("one job", async |t| {
            job::find(&t.pool, t.job, None).await.unwrap().unwrap();
            job::standing(&t.pool, t.job, Some(&[t.project]))
                .await
                .unwrap()
                .unwrap();
            attempt::of_job(&t.pool, t.job).await.unwrap();
            step::of_job(&t.pool, t.job).await.unwrap();
            approval::of_job(&t.pool, t.job).await.unwrap();
            log::after(&t.pool, t.job, log::Place::START, 100).await.unwrap();
            event::of_job(&t.pool, t.job, None, 100).await.unwrap();
        })
        .await;
        let half = Cursor("01980000-0000-7000-8000-00000000c350".parse().unwrap());
        let other = project::put(&self.pool, "other", "/srv/other", "administrator");
        let projects = [self.project, other.await.unwrap()];
        for projects in [None, Some(&projects[..1]), Some(&projects[..])] {
            for state in [
                None,
                Some(JobState::Available),
                Some(JobState::Failed),
                Some(JobState::Succeeded),
            ] {
                for (queue, tag, code) in [
                    (None, None, None),
                    (Some("queue-1"), None, None),
                    (None, Some("some"), None),
                    (Some("queue-1"), Some("none"), Some(Code::Timeout)),
                ] {
                    for after in [None, Some(half)] {
                        let filter = job::Filter {
                            projects,
                            state,
                            queue,
                            tag,
                            code,
                            ..job::Filter::default()
                        };
                        let what = format!("a page of {filter:?} after {after:?}");
                        self.hold(&what, async |t| {
                            drop(job::page(&t.pool, filter, after, 50).await.unwrap());
                        })
                        .await;
                    }
                }
            }
        }
    }

    async fn some_settlements(&self) -> Vec<Settlement> {
        let claimed = claim::claim(&self.pool, self.runner, "queue-2", &[], 20)
            .await
            .unwrap();
        let settlement = |fence| Settlement {
            fence,
            ending: Ending::Succeeded,
            step: None,
        };
        claimed
            .into_iter()
            .map(|claimed| settlement(claimed.fence))
            .collect()
    }
}

/// Tables with one job that is held, over `pool`.
async fn tables(pool: Pool) -> Tables {
    tell(&pool, QUIET).await;
    let project = demo(&pool).await;
    let runner = session(&pool).await;
    let job = due(&pool, project).await;
    tell(&pool, MADE).await;
    let fence = claim::claim(&pool, runner, "default", &[], 1).await.unwrap()[0].fence;
    Tables {
        pool,
        project,
        runner,
        job,
        fence,
    }
}

#[tokio::test]
async fn no_statement_of_a_service_reads_a_whole_table_of_100_000_jobs() {
    let database = database().await;
    let tables = tables(pools::pool(&database.url, "test", 1).unwrap()).await;
    tell(&tables.pool, FILL).await;
    // As in the minutes before autovacuum has looked for the first time.
    tables.hold_all().await;
    tell(&tables.pool, "analyze").await;
    tell(&tables.pool, "discard plans").await;
    tables.hold_all().await;
}

#[tokio::test]
async fn what_goes_by_keys_reads_few_rows_of_100_000_jobs_though_it_was_planned_when_there_were_none() {
    let database = database().await;
    let others = pools::pool(&database.url, "test", 1).unwrap();
    let tables = tables(pools::keyed(&database.url, "test", 1).unwrap()).await;
    tables.hold_keyed().await;
    tell(&others, FILL).await;
    let before = tables.read().await;
    tables.hold_keyed().await;
    let read = tables.read().await - before;
    assert!(read < 10_000, "{read} rows");
    tell(&others, "analyze").await;
    tables.hold_keyed().await;
    let read = tables.read().await - before;
    assert!(read < 20_000, "{read} rows");
}

#[tokio::test]
async fn who_waits_at_a_gate_in_a_paused_queue_is_passed_over_however_many_they_are() {
    for kind in [pools::pool, pools::keyed] {
        let database = database().await;
        let others = pools::pool(&database.url, "test", 1).unwrap();
        let tables = tables(kind(&database.url, "test", 1).unwrap()).await;
        tell(
            &others,
            "update project set max_running = 3;
             insert into queue (name, paused_at) values ('nightly', now());
             insert into job (id, project_id, queue, state, priority, run_at, max_attempts, gate, project_limited,
                              concurrency_key, concurrency_limit)
             select gen_random_uuid(), id, case when n % 10000 = 0 then 'later' else 'nightly' end, 'scheduled', 0,
                    now() - interval '1 day' + n * interval '1 second', 3, gate, gate = 'project', case when gate = 'key' then 'key' end,
                    case when gate = 'key' then 2 end
               from project, generate_series(1, 10000) as n, (values ('key'), ('project')) as at (gate)",
        )
        .await;
        for statistics in ["select 1", "analyze job"] {
            tell(&others, statistics).await;
            // What was read to put them in is not counted later.
            ask(&others, "select pg_stat_force_next_flush()").await;
            let before = tables.read().await;
            let keys = gate::keys_with_room(&tables.pool, None, 100).await.unwrap().0;
            let projects = gate::projects_with_room(&tables.pool).await.unwrap();
            assert_eq!((keys.len(), projects.len()), (1, 1));
            let mut transaction = tables.pool.acquire().await.unwrap();
            sqlx::raw_sql("begin").execute(&mut *transaction).await.unwrap();
            let (by_key, _) = gate::admit_key(&mut *transaction, tables.project, "key")
                .await
                .unwrap();
            let by_project = gate::admit_project(&mut *transaction, tables.project)
                .await
                .unwrap();
            assert_eq!(
                (by_key, by_project),
                (vec!["later".to_owned()], vec!["later".to_owned()])
            );
            sqlx::raw_sql("rollback")
                .execute(&mut *transaction)
                .await
                .unwrap();
            drop(transaction);
            let read = tables.read().await - before;
            assert!(read < 1000, "{read} rows");
        }
    }
}

#[tokio::test]
async fn a_token_that_was_seen_is_looked_at_once_for_however_many_jobs() {
    let database = database().await;
    let pool = pools::pool(&database.url, "test", 1).unwrap();
    let project = demo(&pool).await;
    tell(
        &pool,
        "alter table token_project set (autovacuum_enabled = false); alter table token set (autovacuum_enabled = false);
         insert into token (id, name, prefix, hash, scopes)
         select gen_random_uuid(), n, n, sha256(n::text::bytea), '{submit}' from generate_series(1, 200) as n;
         insert into token_project select token.id, project.id from token, project",
    )
    .await;
    let (spec, hash) = (spec(), TokenHash::of("7"));
    let token = token::by_hashes(&pool, &[hash]).await.unwrap().remove(0).unwrap();
    let read = async || {
        ask(&pool, "select pg_stat_force_next_flush()").await;
        let count = "(select sum(seq_tup_read) from pg_stat_user_tables where relname in ('token', 'token_project'))
                     + (select sum(idx_tup_read) from pg_stat_user_indexes where relname in ('token', 'token_project'))";
        ask(&pool, count).await.parse::<i64>().unwrap()
    };
    for statistics in ["select 1", "analyze", "vacuum analyze"] {
        tell(&pool, statistics).await;
        tell(&pool, "discard plans").await;
        let before = read().await;
        for _ in 0..3 {
            let jobs = |_| new(&spec, project, Some(token.seen));
            let jobs: Vec<_> = (0..100).map(jobs).collect();
            assert_eq!(insert::insert(&pool, &jobs, None).await.unwrap().len(), 100);
        }
        let read = read().await - before;
        assert!(read <= 3 * 2 * 200, "{read} rows after {statistics}");
    }
}
