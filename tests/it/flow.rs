//! Jobs of several steps on real runners: what runs, in which order, and what goes on after a stop.

mod agents;
mod allowed;
mod approval;
mod crash;
mod docs;
mod refused;
mod steps;
mod words;

use std::os::unix::fs::PermissionsExt as _;

use chrono::Duration;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::control;
use orchestrator::app::hint::Hints;
use orchestrator::app::maintain::{expire, promote};
use orchestrator::app::submit::submit;
use orchestrator::domain::approval::{Decision, Word};
use orchestrator::domain::clock;
use orchestrator::domain::id::JobId;
use orchestrator::domain::job::JobState;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::{Pool, project};
use serde_json::{Value, json};

use crate::support::{Database, Program, Scratch, ask, database, scratch, until};

/// Tables, a place for steps to leave traces in, and runners that come and go.
struct Ground {
    pool: Pool,
    hints: Hints,
    operator: Caller,
    directory: Scratch,
    database: Database,
}

impl Ground {
    async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        let directory = scratch();
        let project = directory.join("project");
        std::fs::create_dir(&project).unwrap();
        project::put(&pool, "demo", project.to_str().unwrap(), "administrator")
            .await
            .unwrap();
        // Steps run as another user than this test, when it runs as root.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        Self {
            pool,
            hints: Hints::default(),
            operator: Caller::operator("test"),
            directory,
            database,
        }
    }

    fn runner(&self, environment: &[(&str, &str)]) -> Program {
        let workspaces = self.directory.join("workspaces");
        let mut all = vec![
            ("DATABASE_URL", self.database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("RUNNER_POLL_INTERVAL_SEC", "0.02"),
            ("RUNNER_RECLAIM_AFTER_SEC", "600"),
            ("SANDBOX", "off"),
        ];
        all.extend(environment);
        let mut runner = Program::start(&["runner"], &all);
        runner.hear("runner session open");
        runner
    }

    async fn submit(&self, fields: Value) -> JobId {
        let mut spec = json!({ "goal": "g", "project_id": "demo" });
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        submit(&self.pool, &self.hints, &self.operator, &spec)
            .await
            .unwrap()
            .job
    }

    /// A step that leaves its name in the trace and then does what `script` says.
    fn step(&self, id: &str, script: &str) -> Value {
        let trace = self.directory.join("trace");
        let script = format!("echo {id} >> {}; {script}", trace.display());
        json!({ "step_id": id, "argv": ["sh", "-c", script], "max_retries": 0 })
    }

    /// What ran so far, in order.
    fn trace(&self) -> String {
        let trace = std::fs::read_to_string(self.directory.join("trace")).unwrap_or_default();
        trace.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    async fn state(&self, job: JobId) -> String {
        let question = format!("select concat_ws(' ', state, code) from job where id = '{job}'");
        ask(&self.pool, &question).await
    }

    async fn reaches(&self, job: JobId, state: &str) {
        until(async || (self.state(job).await == state).then_some(())).await;
    }

    /// Waits until the job waits for the answer to this many-th question.
    async fn asks(&self, job: JobId, questions: i32) {
        let open = format!(
            "select count(*) = {questions} and bool_or(decision is null) from approval where job_id = '{job}'"
        );
        until(async || (ask(&self.pool, &open).await == "true").then_some(())).await;
    }

    /// Ended steps as `id:status` or `id:status:verdict`, in order.
    async fn ended(&self, job: JobId) -> String {
        let question = format!(
            "select string_agg(concat_ws(':', step_id, status, verdict), ' ' order by attempt, ordinal) from step where job_id = '{job}'"
        );
        ask(&self.pool, &question).await
    }

    async fn says(&self, job: JobId, decision: Decision) -> Result<JobState, control::Error> {
        let word = Word {
            decision,
            comment: None,
            prompt: None,
            attempt: None,
        };
        self.answers(job, &word).await
    }

    async fn answers(&self, job: JobId, word: &Word) -> Result<JobState, control::Error> {
        control::decide(&self.pool, &self.hints, &self.operator, job, word).await
    }

    /// Lets an hour pass for what waits.
    async fn an_hour_passes(&self) {
        promote(&self.pool, &self.hints, Some(clock::now() + Duration::hours(1)))
            .await
            .unwrap();
    }

    /// Lets every lease pass.
    async fn leases_pass(&self) {
        expire(&self.pool, &self.hints, Some(clock::now() + Duration::hours(1)))
            .await
            .unwrap();
    }

    fn place(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// A step with something more.
fn with(mut step: Value, fields: Value) -> Value {
    match (&mut step, fields) {
        (Value::Object(step), Value::Object(fields)) => step.extend(fields),
        _ => panic!("a step and its fields are objects"),
    }
    step
}
