//! Schedules over simulated time: the clock is an argument, the tables are real.

use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::app::fire_due::fire_due;
use orchestrator::app::hint::Hints;
use orchestrator::domain::id::{ProjectId, ScheduleId};
use orchestrator::store::schedule::{NewSchedule, insert};
use orchestrator::store::{Pool, project};
use serde_json::json;

use crate::support::{ask, database};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

async fn schedule(pool: &Pool, project: ProjectId, name: &str, expression: &str, due: DateTime<Utc>) {
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["true"] }] });
    let new = NewSchedule {
        id: ScheduleId::generate(),
        project,
        name,
        expression,
        zone: "UTC",
        anchor: due,
        spec: &spec,
        next_due_at: Some(due),
    };
    insert(pool, &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_fire_each_occurrence_of_ten_minutes_once() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let start = at("2030-01-01T00:00:00Z");
    for number in 0..20 {
        schedule(&pool, demo, &format!("minute-{number}"), "* * * * *", start).await;
    }
    schedule(&pool, demo, "five", "*/5 * * * *", start).await;
    schedule(&pool, demo, "seconds", "every 15s", start).await;
    for tick in 0..=60 {
        let now = Some(start + TimeDelta::seconds(10 * tick));
        let (hints, others) = (Hints::default(), Hints::default());
        let (one, other) = tokio::join!(fire_due(&pool, &hints, now), fire_due(&pool, &others, now));
        one.unwrap();
        other.unwrap();
    }
    // 00:00 to 00:10, both ends; an interval's first run is one interval after its anchor.
    let fired = "select string_agg(name || ' ' || fired, ', ' order by name) from
                    (select name, count(*) as fired from occurrence join schedule on schedule.id = schedule_id
                      where decision = 'fired' and name in ('minute-0', 'minute-19', 'five', 'seconds') group by name) as counted";
    assert_eq!(
        ask(&pool, fired).await,
        "five 3, minute-0 11, minute-19 11, seconds 40"
    );
    assert_eq!(
        ask(&pool, "select count(*) from job").await,
        (20 * 11 + 3 + 40).to_string()
    );
    let kept = "select count(distinct job_id) = (select count(*) from job) and bool_and(job_id is not null) from occurrence";
    assert_eq!(ask(&pool, kept).await, "true");
}

#[tokio::test]
async fn schedule_that_cannot_be_read_is_paused_and_said_and_the_others_fire() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let start = at("2030-01-01T00:00:00Z");
    schedule(&pool, demo, "broken", "61 * * * *", start).await;
    schedule(&pool, demo, "whole", "* * * * *", start).await;
    assert_eq!(fire_due(&pool, &Hints::default(), Some(start)).await.unwrap(), 1);
    assert_eq!(
        ask(&pool, "select name from schedule where paused_at is not null").await,
        "broken"
    );
    assert_eq!(
        ask(
            &pool,
            "select kind || ' ' || (detail ->> 'name') from event where kind like 'schedule%'"
        )
        .await,
        "schedule.paused broken"
    );
}
