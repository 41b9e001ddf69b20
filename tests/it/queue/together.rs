//! Requests that come while others are written go in together, and each is answered for itself.

use futures_util::future::join_all;
use orchestrator::app::authenticate::Caller;
use orchestrator::app::submit::{Accepted, Error, Together, submit_with_others, together};
use orchestrator::domain::id::ProjectId;
use orchestrator::store::project;
use serde_json::{Value, json};

use super::{Queue, spec};
use crate::support::{ask, tell, until};

/// Requests that are held up until all have come.
struct Crowd {
    queue: Queue,
    together: Together,
    other: ProjectId,
}

impl Crowd {
    async fn new() -> Self {
        let queue = Queue::new().await;
        let other = project::put(&queue.pool, "other", "/srv/other", "administrator")
            .await
            .unwrap();
        Self {
            together: together(&queue.pool, &queue.hints),
            queue,
            other,
        }
    }

    async fn one(&self, caller: &Caller, fields: &Value) -> Result<Accepted, Error> {
        let Queue { pool, hints, .. } = &self.queue;
        submit_with_others(pool, hints, &self.together, caller, spec(fields)).await
    }

    /// Asks for all while nothing can be written, so that none is done before all have asked.
    async fn all(&self, fields: &[Value]) -> Vec<Result<Accepted, Error>> {
        let mut lock = self.queue.pool.acquire().await.unwrap();
        sqlx::raw_sql("begin; lock table job in exclusive mode")
            .execute(&mut *lock)
            .await
            .unwrap();
        let free = async {
            let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
            until(async || (ask(&self.queue.pool, waits).await == "true").then_some(())).await;
            sqlx::raw_sql("commit").execute(&mut *lock).await.unwrap();
        };
        let operator = &self.queue.operator;
        let asked = join_all(fields.iter().map(|fields| self.one(operator, fields)));
        tokio::join!(asked, free).0
    }

    /// How many transactions wrote the jobs there are.
    async fn commits(&self) -> u32 {
        ask(&self.queue.pool, "select count(distinct xmin::text) from job")
            .await
            .parse()
            .unwrap()
    }
}

#[tokio::test]
async fn requests_that_come_meanwhile_share_a_commit() {
    let crowd = Crowd::new().await;
    let answers = crowd.all(&vec![json!({}); 100]).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|accepted| !accepted.repeated))
    );
    assert_eq!(ask(&crowd.queue.pool, "select count(*) from job").await, "100");
    assert!(crowd.commits().await <= 2, "{} commits", crowd.commits().await);
}

#[tokio::test]
async fn what_is_wrong_with_one_request_is_no_concern_of_the_others() {
    let crowd = Crowd::new().await;
    let held = crowd.queue.submit(json!({ "unique_key": "held" })).await;
    let first = crowd
        .queue
        .submit(json!({ "idempotency_key": "taken", "goal": "first" }))
        .await;
    let answers = crowd
        .all(&[
            json!({}),
            json!({}),
            json!({ "goal": "plain" }),
            json!({ "project_id": "nowhere" }),
            json!({ "idempotency_key": "taken", "goal": "first" }),
            json!({ "idempotency_key": "taken", "goal": "another" }),
            json!({ "unique_key": "held" }),
            json!({ "idempotency_key": "new" }),
            json!({ "idempotency_key": "new" }),
            json!({ "unique_key": "new" }),
            json!({ "unique_key": "new" }),
            json!({ "steps": [{ "step_id": "a", "agent": "nobody", "prompt": "Do it" }] }),
        ])
        .await;
    let accepted = |place: usize| *answers[place].as_ref().unwrap();
    assert!(!accepted(2).repeated);
    assert!(matches!(&answers[3], Err(Error::Invalid(wrong)) if wrong.len() == 1));
    assert_eq!((accepted(4).job, accepted(4).repeated), (first, true));
    assert!(matches!(&answers[5], Err(Error::KeyReused { holder, .. }) if *holder == format!("job {first}")));
    assert_eq!((accepted(6).job, accepted(6).repeated), (held, true));
    for (one, same) in [(7, 8), (9, 10)] {
        assert_eq!(accepted(one).job, accepted(same).job);
        assert_ne!(accepted(one).repeated, accepted(same).repeated);
    }
    assert!(matches!(&answers[11], Err(Error::Invalid(_))));
    assert_eq!(ask(&crowd.queue.pool, "select count(*) from job").await, "7");
}

#[tokio::test]
async fn a_request_that_the_database_refuses_takes_no_other_along() {
    let crowd = Crowd::new().await;
    tell(
        &crowd.queue.pool,
        "alter table job_spec add constraint goal_is_allowed check (spec ->> 'goal' <> 'refused')",
    )
    .await;
    let mut fields = vec![json!({}); 20];
    fields[10] = json!({ "goal": "refused" });
    let answers = crowd.all(&fields).await;
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), place != 10, "{place}: {answer:?}");
    }
    assert_eq!(ask(&crowd.queue.pool, "select count(*) from job").await, "19");
}

#[tokio::test]
async fn a_caller_reaches_no_other_project_in_the_company_of_one_who_does() {
    let crowd = Crowd::new().await;
    let own = Caller {
        projects: Some(vec![crowd.other]),
        ..Caller::operator("own")
    };
    let (fields, operator) = (json!({ "project_id": "demo" }), crowd.queue.operator.clone());
    let (theirs, ours) = tokio::join!(crowd.one(&own, &fields), crowd.one(&operator, &fields));
    assert!(matches!(theirs, Err(Error::Project(_))));
    assert!(ours.is_ok());
    let none = Caller {
        scopes: Vec::new(),
        ..operator
    };
    assert!(matches!(crowd.one(&none, &fields).await, Err(Error::Scope)));
}
