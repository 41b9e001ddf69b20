//! What a host lets its steps be, and what it lets agents cost.

use orchestrator::app::hint::Hints;
use orchestrator::app::lease::{Reserved, Session, Spent};
use orchestrator::domain::budget::Limit;
use orchestrator::domain::id::{JobId, RunnerId};
use orchestrator::store::runner::NewSession;
use serde_json::json;

use super::Ground;
use crate::support::{ask, tell, until};

async fn ended(ground: &Ground, job: JobId) {
    let ended = format!("select finished_at is not null from job where id = '{job}'");
    until(async || (ask(&ground.pool, &ended).await == "true").then_some(())).await;
}

#[tokio::test]
async fn a_step_is_a_program_that_the_host_and_the_job_allow_by_the_file_it_is() {
    let ground = Ground::new().await;
    let _runner = ground.runner(&[
        ("ALLOWED_BINARIES", "sh,/usr/bin/env,cat"),
        ("MIN_BINARY_VERSIONS", "env=999.1,cat=0.1"),
    ]);
    let fake = ground.place("bin");
    std::fs::create_dir(&fake).unwrap();
    std::fs::copy("/bin/true", format!("{fake}/sh")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", format!("{fake}/link")).unwrap();
    let link = format!("{fake}/link");
    let cases = [
        (json!(["sh", "-c", "true"]), json!({}), json!({}), "succeeded"),
        // Another name of the same file, and a link to it.
        (
            json!(["/usr/bin/sh", "-c", "true"]),
            json!({}),
            json!({}),
            "succeeded",
        ),
        (json!([link, "-c", "true"]), json!({}), json!({}), "succeeded"),
        (json!(["true"]), json!({}), json!({}), "failed policy"),
        (
            json!([format!("{fake}/sh")]),
            json!({}),
            json!({}),
            "failed policy",
        ),
        // The step's own PATH does not make another file the allowed one.
        (
            json!(["sh"]),
            json!({ "PATH": format!("{fake}:/usr/bin:/bin") }),
            json!({}),
            "failed policy",
        ),
        (
            json!(["sh"]),
            json!({ "PATH": ".:relative" }),
            json!({}),
            "failed spawn",
        ),
        (json!(["./sh"]), json!({}), json!({}), "failed spawn"),
        (json!(["no-such-program"]), json!({}), json!({}), "failed spawn"),
        (
            json!(["cat", "/dev/null"]),
            json!({}),
            json!({ "allowed_binaries": ["cat", "true"] }),
            "succeeded",
        ),
        (
            json!(["sh", "-c", "true"]),
            json!({}),
            json!({ "allowed_binaries": ["cat", "true"] }),
            "failed policy",
        ),
        (
            json!(["true"]),
            json!({}),
            json!({ "allowed_binaries": ["cat", "true"] }),
            "failed policy",
        ),
        // Allowed, and too old.
        (json!(["env"]), json!({}), json!({}), "failed policy"),
    ];
    for (argv, env, policy, end) in cases {
        let job = ground
            .submit(json!({ "policy": policy, "steps": [{ "step_id": "a", "argv": argv, "env": env, "max_retries": 0 }] }))
            .await;
        ended(&ground, job).await;
        let message = ask(
            &ground.pool,
            &format!("select message from job where id = '{job}'"),
        )
        .await;
        assert_eq!(ground.state(job).await, end, "{argv} {env} {policy}: {message}");
    }
    let said = "select string_agg(distinct message, E'\\n') from job where code = 'policy'";
    let said = ask(&ground.pool, said).await;
    for part in [
        "is not among the ALLOWED_BINARIES of the host",
        "policy.allowed_binaries of the job",
        "999.1 is the oldest",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

async fn session(ground: &Ground) -> Session {
    let new = NewSession {
        id: RunnerId::generate(),
        instance: "by-hand",
        host: "one",
        pid: 1,
        slots: 1,
        queues: &["default".to_owned()],
        labels: &[],
        lease: std::time::Duration::from_secs(60),
    };
    Session::open(ground.pool.clone(), Hints::default(), &new)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_runners_at_once_never_spend_more_than_there_is() {
    let ground = Ground::new().await;
    let job = ground
        .submit(json!({ "steps": [ground.step("a", "true")] }))
        .await;
    tell(
        &ground.pool,
        "update project set max_daily_cost_usd = 7.5, max_daily_calls = 1000",
    )
    .await;
    let session = session(&ground).await;
    let limit = Limit {
        calls: Some(40),
        micro_usd: Some(20_000_000),
    };
    let storm = async |count: usize| {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..count {
            let session = session.clone();
            // Two hosts of one project.
            let host = ["one", "two"][number % 2];
            calls.spawn(async move { session.reserve(job, host, limit, 1_000_000).await.unwrap() });
        }
        let mut held = Vec::new();
        let mut why = String::new();
        while let Some(call) = calls.join_next().await {
            match call.unwrap() {
                Reserved::Held(one) => held.push(one),
                Reserved::Refused(sentence) => why = sentence,
            }
        }
        (held, why)
    };
    let (held, why) = storm(100).await;
    assert_eq!(held.len(), 7, "7.50 USD are seven calls of one");
    assert!(
        why.contains("The budget of the project for today is used up: 7.00 of 7.50 USD"),
        "{why}"
    );
    // Five cost less than they might have, one is not known, one was never made; each is corrected once.
    for (number, one) in held.iter().enumerate() {
        let came_to = match number {
            0..5 => Spent::Call(Some(100_000)),
            5 => Spent::Call(None),
            _ => Spent::Nothing,
        };
        for _ in 0..2 {
            session.correct(*one, came_to).await.unwrap();
        }
    }
    let project = "select calls || ' ' || micro_usd from spending where scope = 'project'";
    assert_eq!(ask(&ground.pool, project).await, "6 1500000");
    assert_eq!(ask(&ground.pool, "select count(*) from reservation").await, "0");
    // Room for six more, however many ask.
    assert_eq!(storm(100).await.0.len(), 6);
    tell(
        &ground.pool,
        "update project set max_daily_cost_usd = null; delete from spending",
    )
    .await;
    let (held, why) = storm(100).await;
    assert_eq!(held.len(), 40, "each host has 20 USD");
    assert!(
        why.contains("The budget of this host for today is used up: 20.00 of 20.00 USD"),
        "{why}"
    );
    tell(
        &ground.pool,
        "update project set max_daily_calls = 0; delete from spending",
    )
    .await;
    assert!(storm(10).await.0.is_empty());
}

#[tokio::test]
async fn a_call_beyond_the_budget_is_not_made_and_the_job_says_why() {
    let ground = Ground::new().await;
    let answer = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s","total_cost_usd":0.25,"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}}"#;
    ground.install("claude", "2.1.0 (Claude Code)", answer, "exit 0");
    let _runner = ground.real(&[("MAX_DAILY_COST_USD", "0.40"), ("USUAL_CALL_COST_USD", "0.30")]);
    let first = ground.asks_agent("claude", json!({})).await;
    ground.reaches(first, "succeeded").await;
    assert_eq!(
        ask(
            &ground.pool,
            "select micro_usd from spending where scope = 'host'"
        )
        .await,
        "250000"
    );
    let second = ground.asks_agent("claude", json!({})).await;
    ground.reaches(second, "failed budget_exceeded").await;
    let message = ask(
        &ground.pool,
        &format!("select message from step where job_id = '{second}'"),
    )
    .await;
    assert!(
        message.contains("0.25 of 0.40 USD with what is under way, and the step may cost 0.30"),
        "{message}"
    );
    // What was never called is not counted, and neither is what is simulated.
    assert_eq!(
        ask(
            &ground.pool,
            "select calls || ' ' || micro_usd from spending where scope = 'project'"
        )
        .await,
        "1 250000"
    );
}

#[tokio::test]
async fn a_program_that_only_has_the_name_of_one_that_must_be_new_is_not_asked_for_its_version() {
    let ground = Ground::new().await;
    let _runner = ground.runner(&[("MIN_BINARY_VERSIONS", "cat=0.1")]);
    let (own, mark) = (ground.place("own"), ground.place("mark"));
    std::fs::create_dir(&own).unwrap();
    let cat = format!("{own}/cat");
    std::fs::write(&cat, format!("#!/bin/sh\necho 9.9; : > {mark}\n")).unwrap();
    std::fs::set_permissions(&cat, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(
        ground.place(""),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let step = |argv| json!({ "steps": [{ "step_id": "a", "argv": argv, "max_retries": 0 }] });
    // It would be asked outside of the sandbox.
    let up = "../".repeat(20);
    for argv in [json!([cat]), json!([format!("{up}{cat}")])] {
        let job = ground.submit(step(argv.clone())).await;
        ended(&ground, job).await;
        assert_eq!(ground.state(job).await, "failed policy", "{argv}");
    }
    assert!(!std::path::Path::new(&mark).exists(), "it was run");
    for argv in [json!(["cat", "/dev/null"]), json!(["/usr/bin/cat", "/dev/null"])] {
        let job = ground.submit(step(argv.clone())).await;
        ended(&ground, job).await;
        assert_eq!(ground.state(job).await, "succeeded", "{argv}");
    }
}
