//! No statement that services make reads a whole large table.
//!
//! PostgreSQL itself counts sequential scans; the statements are made through the functions that
//! services call, often enough that generic plans come into use, before and after statistics exist.

use std::time::Duration;

use orchestrator::domain::attempt::{Ending, Fence};
use orchestrator::domain::id::{JobId, ProjectId, RunnerId};
use orchestrator::domain::job::{Code, JobState};
use orchestrator::domain::page::Cursor;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{
    Pool, approval, artifact, attempt, claim, database as pools, event, expire, gate, history, insert, job,
    log, need, project, runner, stats, step, usage, workspace,
};

use super::{demo, due, session};
use crate::support::{ask, database, tell};

/// Rows of every state, most of them ended, as in a table that was in use for long.
const FILL: &str = "
    -- A worker that comes by changes the statistics, and reads a table for each range of an index that it sums up.
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
    alter index event_by_time set (autosummarize = off);
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, started_at, finished_at)
    select ('01980000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, project.id, 'queue-' || n % 3,
           (case when n % 100 = 0 then 'available' when n % 100 = 1 then 'scheduled' else 'succeeded' end)::job_state,
           n % 5, now() + case when n % 100 = 1 then interval '1 day' else interval '-1 day' end, 3,
           case when n % 100 > 1 then 1 else 0 end, case when n % 100 > 1 then now() end,
           case when n % 100 > 1 then now() end
      from generate_series(1, 100000) as n, project where alias = 'demo';
    insert into job_spec
    select id, jsonb_build_object('queue', queue, 'tags', case when priority = 1 then jsonb_build_array('some') else '[]' end), sha256('') from job
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
    insert into workspace (job_id, host, kind, base) select job_id, 'host', 'empty', '' from attempt;";

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

    async fn hold(&self, what: &str, call: impl AsyncFn(&Self)) {
        let before = self.scans().await;
        for _ in 0..8 {
            call(self).await;
        }
        assert_eq!(self.scans().await, before, "{what} reads a whole table");
    }

    async fn hold_all(&self) {
        self.hold("insert", async |t| {
            due(&t.pool, t.project).await;
        })
        .await;
        self.hold("claim", async |t| {
            drop(claim::claim(&t.pool, t.runner, "queue-1", "", 5).await.unwrap());
        })
        .await;
        self.hold("an empty claim", async |t| {
            drop(claim::claim(&t.pool, t.runner, "empty", "", 5).await.unwrap());
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
        self.hold("promote", async |t| {
            drop(expire::promote(&t.pool, None, 100).await.unwrap());
        })
        .await;
        self.hold("expire", async |t| {
            drop(expire::expire(&t.pool, None, 100).await.unwrap());
        })
        .await;
        self.hold("what limits let in", async |t| {
            gate::admit_key(&t.pool, t.project, "key").await.unwrap();
            gate::admit_project(&t.pool, t.project).await.unwrap();
            gate::with_room(&t.pool, 100).await.unwrap();
        })
        .await;
        self.hold("what needs hear", async |t| {
            need::unheard(&t.pool, 100).await.unwrap();
            need::release(&t.pool, &[t.job]).await.unwrap();
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
        self.hold("key holder", async |t| {
            insert::holders(&t.pool, t.project, &["key"]).await.unwrap();
            insert::unique_holder(&t.pool, t.project, "key").await.unwrap();
        })
        .await;
        self.hold("metrics", async |t| {
            stats::open_jobs(&t.pool).await.unwrap();
            stats::oldest_available_sec(&t.pool).await.unwrap();
        })
        .await;
        self.hold_reads().await;
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
            history::past(&t.pool, t.job).await.unwrap();
            history::spent(&t.pool, t.job).await.unwrap();
            history::answers(&t.pool, t.job).await.unwrap();
            usage::told(&t.pool, t.job).await.unwrap();
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
        let claimed = claim::claim(&self.pool, self.runner, "queue-2", "", 20)
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

#[tokio::test]
async fn no_statement_of_a_service_reads_a_whole_table_of_100_000_jobs() {
    let database = database().await;
    let pool = pools::pool(&database.url, "test", 1).unwrap();
    let project = demo(&pool).await;
    let runner = session(&pool).await;
    let job = due(&pool, project).await;
    tell(&pool, FILL).await;
    let fence = claim::claim(&pool, runner, "default", "", 1).await.unwrap()[0].fence;
    let tables = Tables {
        pool,
        project,
        runner,
        job,
        fence,
    };
    // As in the minutes before autovacuum has looked for the first time.
    tables.hold_all().await;
    tell(&tables.pool, "analyze").await;
    tell(&tables.pool, "discard plans").await;
    tables.hold_all().await;
}
