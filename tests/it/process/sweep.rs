//! Workspaces and artifacts past their time: what goes, what stays, and what happens meanwhile.

use chrono::Duration;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::control;
use orchestrator::app::hint::Hints;
use orchestrator::app::retain::Sweep;
use orchestrator::app::roll_up::roll_up;
use orchestrator::app::workspaces;
use orchestrator::domain::clock;
use orchestrator::domain::id::JobId;
use orchestrator::domain::retention::{Kept, Retention};
use orchestrator::objects::Objects;
use orchestrator::store::rollup::behind;
use serde_json::json;
use uuid::Uuid;

use super::runner::Ground;
use super::workspace::shell;
use crate::support::{ask, until};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

const A_DAY: Retention = Retention {
    every: DAY,
    artifacts: Some(DAY),
    logs: None,
    steps: None,
    attempts: None,
    jobs: Some(DAY),
    events: None,
    occurrences: None,
    deliveries: None,
    runners: None,
    reports: None,
    keys: DAY,
};

impl Ground {
    fn workspace(&self, job: Uuid) -> std::path::PathBuf {
        self.directory.join(format!("workspaces/{job}"))
    }

    /// One pass over artifacts and jobs, as a scheduler does it, at a time to come.
    async fn pass(&self, later: Duration) -> u64 {
        let objects = Objects::directory(&self.directory.join("artifacts"));
        let now = Some(clock::now() + later);
        let mut rows = 0;
        for kept in [Kept::Artifacts, Kept::Jobs] {
            let mut sweep = Sweep::of(kept);
            while {
                let swept = sweep.batch(&self.pool, &objects, &A_DAY, now).await.unwrap();
                rows += swept.rows;
                swept.more
            } {}
        }
        rows
    }
}

#[tokio::test]
async fn workspaces_of_ended_jobs_go_after_their_time_and_those_in_use_stay() {
    let Some(ground) = Ground::sandboxed(&[("WORKSPACES_TTL_SEC", "1")]).await else {
        return;
    };
    let unknown = ground.workspace(Uuid::now_v7());
    std::fs::create_dir_all(unknown.join("work")).unwrap();
    let none = ground.directory.join("workspaces/no-job-at-all");
    std::fs::create_dir(&none).unwrap();
    let steps = json!([{ "step_id": "a", "argv": ["sh", "-c", "touch mine; exit 1"], "max_retries": 0, "on_failure": "ask_human" }]);
    let waits = ground.submit_steps(&steps, &json!({})).await;
    let runs = ground
        .submit(&["sh", "-c", "touch mine; while :; do sleep 0.1; done"])
        .await;
    // What is closed to its owner, and deeper than a path may be long.
    let nasty = "mkdir -p closed/in && touch closed/in/file && chmod 000 closed; ln -s / root; \
                 for n in $(seq 300); do mkdir aaaaaaaaaaaaaaaa && cd aaaaaaaaaaaaaaaa; done; touch deep";
    let ended = ground.submit(&["sh", "-c", nasty]).await;
    assert_eq!(
        ground.end(ended).await,
        "succeeded",
        "{}",
        ground.log(ended, "stderr").await
    );
    until(async || (!ground.workspace(ended).exists()).then_some(())).await;
    until(async || (!unknown.exists()).then_some(())).await;
    let going = || {
        std::fs::read_dir(ground.directory.join("workspaces"))
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".going"))
    };
    until(async || (!going()).then_some(())).await;
    assert!(ground.workspace(waits).join("work/mine").exists());
    assert!(ground.workspace(runs).join("work/mine").exists());
    assert!(none.exists() && std::path::Path::new("/etc/passwd").exists());
    // What a job left behind has its own time.
    assert!(!ground.artifact(ended, "result.json").is_empty());
}

#[tokio::test]
async fn a_workspace_is_taken_under_the_lock_of_its_job_or_not_at_all() {
    let ground = Ground::bare(&[]).await;
    let job = ground.submit(&["false"]).await;
    assert_eq!(ground.end(job).await, "failed exit_nonzero");
    let id = JobId(job);
    let later = Some(clock::now() + Duration::days(2));
    let pool = ground.pool.clone();
    let lock = async || {
        // Nobody else can begin with it meanwhile.
        #[expect(clippy::disallowed_methods, reason = "somebody else who wants the row")]
        let mut other = pool.begin().await.unwrap();
        let free = sqlx::query("select from job where id = $1 for update nowait")
            .bind(job)
            .execute(&mut *other)
            .await;
        assert!(free.is_err(), "the job is not locked");
        Ok(())
    };
    assert!(
        !workspaces::take(&ground.pool, id, DAY, None, async || panic!("too early"))
            .await
            .unwrap()
            .unwrap()
    );
    assert!(
        workspaces::take(&ground.pool, id, DAY, later, lock)
            .await
            .unwrap()
            .unwrap()
    );
    // Somebody wants it to go on: from then on it is in use, however long ago it ended.
    control::retry(&ground.pool, &Hints::default(), &Caller::operator("test"), id)
        .await
        .unwrap();
    assert!(
        !workspaces::take(&ground.pool, id, DAY, later, async || panic!("in use"))
            .await
            .unwrap()
            .unwrap()
    );
    assert!(
        workspaces::not_in_use(&ground.pool, &[job], DAY, later)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn artifacts_go_after_their_time_with_their_rows_and_jobs_only_after_them() {
    let ground = Ground::bare(&[]).await;
    ground.project("git init -q . && echo one > file && git add -A && git commit -qm first");
    let steps = json!([
        { "step_id": "change", "argv": ["sh", "-c", "echo two > file"] },
        { "step_id": "fail", "argv": ["false"], "max_retries": 0 }
    ]);
    let job = ground.submit_steps(&steps, &json!({})).await;
    assert_eq!(ground.end(job).await, "failed exit_nonzero");
    let waits = ground
        .submit_steps(
            &json!([{ "step_id": "a", "argv": ["false"], "max_retries": 0, "on_failure": "ask_human" }]),
            &json!({}),
        )
        .await;
    let state = format!("select state from job where id = '{waits}'");
    until(async || (ask(&ground.pool, &state).await == "awaiting_approval").then_some(())).await;
    let count = format!("select count(*) from artifact where job_id = '{job}'");
    let files = ground.directory.join(format!("artifacts/{job}"));
    assert_eq!(ground.pass(Duration::hours(23)).await, 0);
    assert!(files.exists() && ask(&ground.pool, &count).await != "0");
    // While somebody holds the job, its files and it stay.
    #[expect(clippy::disallowed_methods, reason = "somebody else who holds the row")]
    let mut held = ground.pool.begin().await.unwrap();
    sqlx::query("select from job where id = $1 for update")
        .bind(job)
        .execute(&mut *held)
        .await
        .unwrap();
    assert_eq!(ground.pass(Duration::days(2)).await, 0);
    assert!(files.exists());
    held.rollback().await.unwrap();

    // A job that is retried meanwhile keeps everything, and goes on with it.
    let later = Some(clock::now() + Duration::days(2));
    let objects = Objects::directory(&ground.directory.join("artifacts"));
    Sweep::of(Kept::Artifacts)
        .batch(&ground.pool, &objects, &A_DAY, later)
        .await
        .unwrap();
    assert!(!files.exists());
    assert_eq!(ask(&ground.pool, &count).await, "0");
    assert_eq!(
        ask(
            &ground.pool,
            &format!("select forgotten_at is not null from workspace where job_id = '{job}'")
        )
        .await,
        "true"
    );
    // What cannot be made again is said, when it is wanted and gone.
    shell(&ground.directory, &format!("rm -rf workspaces/{job}"));
    control::retry(
        &ground.pool,
        &Hints::default(),
        &Caller::operator("test"),
        JobId(job),
    )
    .await
    .unwrap();
    until(async || {
        (ask(
            &ground.pool,
            &format!("select code from job where id = '{job}' and finished_at is not null"),
        )
        .await
            == "workspace")
            .then_some(())
    })
    .await;
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(message.contains("past its time (ARTIFACTS_TTL_SEC)"), "{message}");

    // A job that waits keeps all of its own, however long.
    assert!(
        ground
            .directory
            .join(format!("artifacts/{waits}/steps/a/result.json"))
            .exists()
    );
    // Reports have counted what goes: all of it only when nothing that the runner writes is under way.
    until(async || {
        while roll_up(&ground.pool).await.unwrap() {}
        (!behind(&ground.pool).await.unwrap()).then_some(())
    })
    .await;
    while ground.pass(Duration::days(3)).await > 0 {}
    assert!(
        ground
            .directory
            .join(format!("artifacts/{waits}/steps/a/result.json"))
            .exists()
    );
    assert_eq!(
        ask(
            &ground.pool,
            &format!("select count(*) from job where id = '{job}'")
        )
        .await,
        "0"
    );
    assert_eq!(ask(&ground.pool, "select count(*) from job").await, "1");
}
