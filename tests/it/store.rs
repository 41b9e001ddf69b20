//! Statements against real tables.

mod claim;
mod constraints;
mod fences;
mod pages;
mod plans;
mod pool;

use std::time::Duration;

use orchestrator::domain::id::{JobId, ProjectId, RunnerId};
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::insert::{NewJob, insert};
use orchestrator::store::runner::NewSession;
use orchestrator::store::token::Seen;
use orchestrator::store::{Pool, project, runner};
use serde_json::json;

/// The project of these tests.
async fn demo(pool: &Pool) -> ProjectId {
    project::put(pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap()
}

/// A session whose lease lasts an hour.
async fn session(pool: &Pool) -> RunnerId {
    let id = RunnerId::generate();
    let queues = ["default".to_owned()];
    let new = NewSession {
        id,
        instance: "test",
        host: "here",
        pid: 1,
        slots: 10,
        queues: &queues,
        labels: &[],
        lease: Duration::from_secs(3600),
    };
    runner::open(pool, &new).await.unwrap();
    id
}

fn spec() -> JobSpec {
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["true"] }] });
    JobSpec::read(spec.to_string().as_bytes()).unwrap()
}

/// A job to be put in.
fn new(spec: &JobSpec, project: ProjectId, seen: Option<Seen>) -> NewJob<'_> {
    NewJob {
        id: JobId::generate(),
        project,
        spec,
        request_hash: [0; 32],
        actor: "test",
        needs: Vec::new(),
        needed: false,
        trace: None,
        seen,
    }
}

/// A job that is due.
async fn due(pool: &Pool, project: ProjectId) -> JobId {
    let spec = spec();
    let new = new(&spec, project, None);
    let id = new.id;
    insert(pool, &[new], None).await.unwrap();
    id
}
