//! What the queue promises, asked of the use cases over real tables.

mod callbacks;
mod comebacks;
mod invariants;
mod limits;
mod model;
mod needs;
mod operators;
mod retries;
mod settling;
mod together;
mod wakeups;

use std::time::Duration;

use orchestrator::app::authenticate::Caller;
use orchestrator::app::hint::Hints;
use orchestrator::app::lease::Session;
use orchestrator::app::submit::{self, Accepted};
use orchestrator::domain::attempt::{Ending, Failure, Fence};
use orchestrator::domain::id::{JobId, RunnerId};
use orchestrator::domain::job::Code;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::Settlement;
use orchestrator::store::{Pool, project};
use serde_json::{Value, json};

use crate::support::{Database, ask, database};

/// Tables with one project, and who works on them.
struct Queue {
    pool: Pool,
    hints: Hints,
    operator: Caller,
    database: Database,
}

impl Queue {
    async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        Self {
            pool,
            hints: Hints::default(),
            operator: Caller::operator("test"),
            database,
        }
    }

    async fn submit_all(&self, fields: &[Value]) -> Result<Vec<Accepted>, submit::Error> {
        let specs: Vec<JobSpec> = fields.iter().map(spec).collect();
        submit::submit_all(&self.pool, &self.hints, &self.operator, &specs, |index| {
            format!("jobs[{index}].")
        })
        .await
    }

    async fn submit(&self, fields: Value) -> JobId {
        self.submit_all(&[fields]).await.unwrap()[0].job
    }

    async fn session(&self, labels: &[&str]) -> Session {
        let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
        let new = NewSession {
            id: RunnerId::generate(),
            instance: "test",
            host: "here",
            pid: 1,
            slots: 100,
            queues: &["default".to_owned()],
            labels: &labels,
            lease: Duration::from_secs(3600),
        };
        Session::open(self.pool.clone(), self.hints.clone(), &new)
            .await
            .unwrap()
    }

    async fn state(&self, job: JobId) -> String {
        let question = format!("select concat_ws(' ', state, code) from job where id = '{job}'");
        ask(&self.pool, &question).await
    }
}

fn spec(fields: &Value) -> JobSpec {
    let mut spec =
        json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["true"] }] });
    spec.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    JobSpec::read(spec.to_string().as_bytes()).unwrap()
}

async fn claim(session: &Session, limit: u32) -> Vec<Fence> {
    let claimed = session.claim("default", &[], limit).await.unwrap();
    claimed.into_iter().map(|claimed| claimed.fence).collect()
}

async fn end(session: &Session, fence: Fence, ending: Ending) -> bool {
    let settled = session
        .settle(&[Settlement {
            fence,
            ending,
            step: None,
        }])
        .await
        .unwrap();
    session.followed().await;
    settled == [fence.job]
}

fn failed() -> Ending {
    Ending::Failed(Failure::new(Code::ExitNonzero, "It failed."))
}
