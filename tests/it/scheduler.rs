//! Schedules over simulated time: the clock is an argument, the tables are real.

mod changes;
mod crash;
mod many;
mod missed;
mod overlap;
mod plans;
mod seen;
mod steered;

use std::time::Duration;

use chrono::{DateTime, Utc};
use orchestrator::app::authenticate::Caller;
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::hint::Hints;
use orchestrator::app::lease::Session;
use orchestrator::app::schedules::create;
use orchestrator::domain::attempt::{Ending, Failure, Fence};
use orchestrator::domain::id::{RunnerId, ScheduleId};
use orchestrator::domain::job::Code;
use orchestrator::domain::schedule::Definition;
use orchestrator::store::runner::NewSession;
use orchestrator::store::settle::Settlement;
use orchestrator::store::{Pool, project};
use serde_json::{Value, json};

use crate::support::{Database, ask, database};

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A definition with these fields, of a job that does nothing.
pub(crate) fn definition(name: &str, expression: &str, fields: &Value) -> Definition {
    let mut definition = json!({
        "name": name, "expression": expression,
        "job": { "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "agent": "noop" }] },
    });
    definition
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    Definition::read(definition.to_string().as_bytes()).unwrap()
}

/// Tables with a project, and an operator who makes schedules in them.
pub(crate) struct Clockwork {
    pub(crate) pool: Pool,
    pub(crate) operator: Caller,
    pub(crate) database: Database,
}

impl Clockwork {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let pool = database.pool();
        project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        Self {
            pool,
            operator: Caller::operator("test"),
            database,
        }
    }

    /// Makes a schedule at an instant.
    pub(crate) async fn schedule(
        &self,
        made: DateTime<Utc>,
        name: &str,
        expression: &str,
        fields: &Value,
    ) -> ScheduleId {
        let definition = definition(name, expression, fields);
        let made = create(&self.pool, &self.operator, &definition, Some(made)).await;
        ScheduleId(made.unwrap().id)
    }

    /// Fires what is due at an instant; answers with how many jobs that made.
    pub(crate) async fn fire(&self, now: DateTime<Utc>) -> usize {
        let fired = fire_due(&self.pool, &Hints::default(), Some(now)).await.unwrap();
        assert!(fired.failed.is_empty(), "{:?}", fired.failed);
        fired.made
    }

    /// What was decided about a schedule's instants, in their order: when, what, why.
    pub(crate) async fn history(&self, name: &str) -> String {
        let question = format!(
            "select string_agg(to_char(due_at at time zone 'UTC', 'HH24:MI:SS') || ' ' || decision || ' ' || reason, ', ' order by due_at)
               from occurrence join schedule on schedule.id = schedule_id where name = '{name}'"
        );
        ask(&self.pool, &question).await
    }

    pub(crate) async fn ask(&self, question: &str) -> String {
        ask(&self.pool, question).await
    }

    pub(crate) async fn session(&self) -> Session {
        session(&self.pool).await
    }
}

pub(crate) async fn session(pool: &Pool) -> Session {
    let new = NewSession {
        id: RunnerId::generate(),
        instance: "test",
        host: "here",
        pid: 1,
        slots: 100,
        queues: &["default".to_owned()],
        labels: &[],
        lease: Duration::from_secs(36_000),
    };
    Session::open(pool.clone(), Hints::default(), &new).await.unwrap()
}

pub(crate) async fn claim(session: &Session) -> Vec<Fence> {
    let claimed = session.claim("default", &[], 1000).await.unwrap();
    claimed.into_iter().map(|claimed| claimed.fence).collect()
}

/// Ends claimed jobs, which their schedules hear.
pub(crate) async fn end(session: &Session, fences: &[Fence], ending: &Ending) {
    let batch: Vec<Settlement> = fences.iter().map(|fence| settlement(*fence, ending)).collect();
    assert_eq!(session.settle(&batch).await.unwrap().len(), fences.len());
    session.followed().await;
}

pub(crate) fn settlement(fence: Fence, ending: &Ending) -> Settlement {
    Settlement {
        fence,
        ending: ending.clone(),
        step: None,
    }
}

pub(crate) fn failed() -> Ending {
    Ending::Failed(Failure::new(Code::ExitNonzero, "It failed."))
}

pub(crate) fn cancelled() -> Ending {
    Ending::Cancelled(Failure::new(Code::Cancelled, "Cancelled on request."))
}
