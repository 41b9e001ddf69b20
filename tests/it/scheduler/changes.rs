//! Definitions that change while time goes on, and files that are applied.

use chrono::TimeDelta;
use orchestrator::app::hint::Hints;
use orchestrator::app::schedules::apply::{Manner, Step, apply};
use orchestrator::app::schedules::{Error, change, create};
use serde_json::{Value, json};

use super::{Clockwork, at, definition};
use crate::support::tell;

impl Clockwork {
    async fn change(
        &self,
        id: orchestrator::domain::id::ScheduleId,
        expression: &str,
        fields: &Value,
        now: &str,
    ) -> i32 {
        let new = definition("changing", expression, fields);
        let row = change(
            &self.pool,
            &Hints::default(),
            &self.operator,
            id,
            &new,
            None,
            Some(at(now)),
        )
        .await;
        row.unwrap().version
    }
}

#[tokio::test]
async fn expression_that_changes_while_due_loses_and_doubles_nothing() {
    let clock = Clockwork::new().await;
    let allow = json!({ "overlap": "allow" });
    let id = clock
        .schedule(at("2030-01-01T00:00:00Z"), "changing", "@hourly", &allow)
        .await;
    clock.fire(at("2030-01-01T01:00:00Z")).await;
    // 02:00 is due and nobody has fired it.
    clock
        .change(id, "*/30 * * * *", &allow, "2030-01-01T02:00:10Z")
        .await;
    clock.fire(at("2030-01-01T02:00:20Z")).await;
    clock.fire(at("2030-01-01T02:30:00Z")).await;
    // The same instants again, by another name.
    clock
        .change(id, "0,30 * * * *", &allow, "2030-01-01T02:30:00Z")
        .await;
    clock.fire(at("2030-01-01T02:30:01Z")).await;
    assert_eq!(
        clock.history("changing").await,
        "01:00:00 fired on_time, 02:00:00 fired on_time, 02:30:00 fired on_time"
    );
    assert_eq!(
        clock
            .ask("select next_due_at = '2030-01-01 03:00Z' from schedule")
            .await,
        "true"
    );
}

#[tokio::test]
async fn change_of_the_job_alone_keeps_the_next_instant_and_a_change_of_nothing_the_version() {
    let clock = Clockwork::new().await;
    let id = clock
        .schedule(at("2030-01-01T00:00:00Z"), "changing", "every 90m", &json!({}))
        .await;
    assert_eq!(
        clock
            .change(id, "every 90m", &json!({}), "2030-01-01T00:40:00Z")
            .await,
        1
    );
    assert_eq!(
        clock
            .change(
                id,
                "every 90m",
                &json!({ "jitter_sec": 1 }),
                "2030-01-01T00:40:00Z"
            )
            .await,
        2
    );
    assert_eq!(
        clock
            .ask("select next_due_at = '2030-01-01 01:30Z' from schedule")
            .await,
        "true"
    );
    // Intervals are counted from the schedule's creation, whenever they are changed.
    clock
        .change(id, "every 1h", &json!({}), "2030-01-01T00:40:00Z")
        .await;
    assert_eq!(
        clock
            .ask("select next_due_at = '2030-01-01 01:00Z' from schedule")
            .await,
        "true"
    );
}

#[tokio::test]
async fn run_whose_jitter_has_not_passed_when_its_schedule_changes_is_on_record() {
    let clock = Clockwork::new().await;
    let jitter = json!({ "jitter_sec": 3600 });
    let id = clock
        .schedule(at("2030-01-01T00:30:00Z"), "changing", "@hourly", &jitter)
        .await;
    tell(
        &clock.pool,
        "update schedule set fire_at = next_due_at + interval '10 min'",
    )
    .await;
    clock
        .change(id, "30 * * * *", &jitter, "2030-01-01T01:05:00Z")
        .await;
    assert_eq!(clock.history("changing").await, "01:00:00 skipped changed");
    assert_eq!(
        clock
            .ask("select next_due_at = '2030-01-01 01:30Z' from schedule")
            .await,
        "true"
    );
}

#[tokio::test]
async fn pausing_and_resuming_by_definition_is_pausing_and_resuming() {
    let clock = Clockwork::new().await;
    let id = clock
        .schedule(at("2030-01-01T00:30:00Z"), "changing", "@hourly", &json!({}))
        .await;
    clock
        .change(
            id,
            "@hourly",
            &json!({ "enabled": false }),
            "2030-01-01T00:40:00Z",
        )
        .await;
    assert_eq!(clock.fire(at("2030-01-01T02:30:00Z")).await, 0);
    // A word about anything else leaves it paused.
    clock
        .change(
            id,
            "@hourly",
            &json!({ "overlap": "allow" }),
            "2030-01-01T02:30:00Z",
        )
        .await;
    assert_eq!(
        clock.ask("select paused_at is not null from schedule").await,
        "true"
    );
    clock
        .change(id, "@hourly", &json!({ "enabled": true }), "2030-01-01T02:30:00Z")
        .await;
    assert_eq!(clock.fire(at("2030-01-01T03:00:00Z")).await, 1);
    assert_eq!(
        clock.history("changing").await,
        "01:00:00 skipped paused, 02:00:00 skipped paused, 03:00:00 fired on_time"
    );
}

#[tokio::test]
async fn name_that_is_taken_and_project_that_is_another_are_refused() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    let id = clock.schedule(start, "one", "@daily", &json!({})).await;
    clock.schedule(start, "two", "@daily", &json!({})).await;
    let again = create(
        &clock.pool,
        &clock.operator,
        &definition("one", "@daily", &json!({})),
        None,
    )
    .await;
    assert!(matches!(again, Err(Error::NameTaken(_))), "{again:?}");
    let hints = Hints::default();
    let renamed = definition("two", "@daily", &json!({}));
    let renamed = change(&clock.pool, &hints, &clock.operator, id, &renamed, None, None).await;
    assert!(matches!(renamed, Err(Error::NameTaken(_))), "{renamed:?}");
    orchestrator::store::project::put(&clock.pool, "other", "/srv/other", "administrator")
        .await
        .unwrap();
    let moved = json!({ "job": { "goal": "g", "project_id": "other" } });
    let moved = change(
        &clock.pool,
        &hints,
        &clock.operator,
        id,
        &definition("one", "@daily", &moved),
        None,
        None,
    )
    .await;
    assert!(matches!(moved, Err(Error::Invalid(_))), "{moved:?}");
    let nowhere = json!({ "job": { "goal": "g", "project_id": "nowhere" } });
    let nowhere = create(
        &clock.pool,
        &clock.operator,
        &definition("three", "@daily", &nowhere),
        None,
    )
    .await;
    assert!(matches!(nowhere, Err(Error::Invalid(_))), "{nowhere:?}");
}

#[tokio::test]
async fn files_are_applied_whole_and_pruning_takes_only_what_they_made() {
    let clock = Clockwork::new().await;
    let start = at("2030-01-01T00:00:00Z");
    clock.schedule(start, "by-hand", "@daily", &json!({})).await;
    let steps =
        async |wanted: &[(&str, &str)], set: &str, prune: bool, dry_run: bool| -> Result<String, Error> {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(name, expression)| definition(name, expression, &json!({})))
                .collect();
            let manner = Manner { set, prune, dry_run };
            let applied = apply(
                &clock.pool,
                &Hints::default(),
                &clock.operator,
                &wanted,
                manner,
                Some(start),
            )
            .await?;
            let said = applied.iter().map(|one| {
                let step = match &one.step {
                    Step::Created { .. } => "created".to_owned(),
                    Step::Changed { changes } => changes[0].to_string(),
                    Step::Unchanged => "unchanged".to_owned(),
                    Step::Deleted => "deleted".to_owned(),
                };
                format!("{} {step}", one.name)
            });
            Ok(said.collect::<Vec<_>>().join(", "))
        };
    let (a, b) = (("a", "@hourly"), ("b", "@daily"));
    assert_eq!(
        steps(&[a, b], "files", true, true).await.unwrap(),
        "a created, b created"
    );
    assert_eq!(clock.ask("select count(*) from schedule").await, "1");
    assert_eq!(
        steps(&[a, b], "files", true, false).await.unwrap(),
        "a created, b created"
    );
    assert_eq!(
        steps(&[a, b], "files", true, false).await.unwrap(),
        "a unchanged, b unchanged"
    );
    assert_eq!(
        clock
            .ask("select string_agg(version::text, ' ') from schedule")
            .await,
        "1 1 1"
    );
    assert_eq!(
        steps(&[("c", "@daily")], "others", true, false).await.unwrap(),
        "c created"
    );
    assert_eq!(
        steps(&[("a", "@weekly")], "files", true, false).await.unwrap(),
        r#"a expression: "@hourly" → "@weekly", b deleted"#
    );
    assert_eq!(
        clock
            .ask("select string_agg(name, ' ' order by name) from schedule")
            .await,
        "a by-hand c"
    );
    // One that cannot be made undoes the others.
    let nowhere = definition(
        "z",
        "@daily",
        &json!({ "job": { "goal": "g", "project_id": "nowhere" } }),
    );
    let wanted = [definition("y", "@daily", &json!({})), nowhere];
    let manner = Manner {
        set: "files",
        prune: false,
        dry_run: false,
    };
    let refused = apply(
        &clock.pool,
        &Hints::default(),
        &clock.operator,
        &wanted,
        manner,
        None,
    )
    .await;
    match refused {
        Err(Error::Invalid(violations)) => assert_eq!(violations[0].path, "schedules[1].job.project_id"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        clock
            .ask("select count(*) from schedule where name in ('y', 'z')")
            .await,
        "0"
    );
}

#[tokio::test]
async fn health_of_a_schedule_is_told_by_its_view() {
    let clock = Clockwork::new().await;
    let start = chrono::DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    clock.schedule(start, "healthy", "* * * * *", &json!({})).await;
    clock
        .schedule(start, "silent", "@daily", &json!({ "enabled": false }))
        .await;
    let session = clock.session().await;
    for (minute, ending) in [
        (1, orchestrator::domain::attempt::Ending::Succeeded),
        (2, orchestrator::domain::attempt::Ending::Succeeded),
        (3, orchestrator::domain::attempt::Ending::Succeeded),
        (4, super::failed()),
    ] {
        clock.fire(start + TimeDelta::minutes(minute)).await;
        super::end(&session, &super::claim(&session).await, &ending).await;
    }
    let health = "select project || '/' || name || ' ' || last_state || ' ' || runs_counted || ' ' || round(success_rate, 2) || ' ' || failures_in_a_row
                         || ' ' || overdue || ' ' || (last_success_at is not null and typical_duration >= interval '0' and next_run_at is not null)
                    from report.schedule_health where name = 'healthy'";
    assert_eq!(clock.ask(health).await, "demo/healthy failed 4 0.75 1 true true");
    let silent = "select paused and not overdue and last_run_at is null and success_rate is null and next_run_at is null
                    from report.schedule_health where name = 'silent'";
    assert_eq!(clock.ask(silent).await, "true");
    // The jobs are gone, what became of them is not.
    tell(&clock.pool, "delete from job").await;
    let kept = "select last_state || ' ' || runs_counted || ' ' || round(success_rate, 2) from report.schedule_health where name = 'healthy'";
    assert_eq!(clock.ask(kept).await, "failed 4 0.75");
}
