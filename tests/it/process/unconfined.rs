//! Without a sandbox: refused, or wanted and said.

use serde_json::{Value, json};

use super::runner::Ground;
use super::sandbox::sh;
use crate::support::ask;

#[tokio::test]
async fn a_sandbox_that_cannot_be_set_up_is_a_refusal() {
    for broken in ["no-such-wrapper", "/bin/false"] {
        let ground = Ground::new(&[("SANDBOX_WRAPPER", broken)]).await;
        let job = ground.submit(&["true"]).await;
        assert_eq!(ground.end(job).await, "failed policy");
        let message = ask(
            &ground.pool,
            &format!("select message from job where id = '{job}'"),
        )
        .await;
        assert!(message.contains("No sandbox could be set up"), "{message}");
    }
}

#[tokio::test]
async fn without_a_sandbox_every_job_says_so_and_one_that_asks_for_it_is_refused() {
    let ground = Ground::new(&[("SANDBOX", "off")]).await;
    let job = ground.submit(&["true"]).await;
    assert_eq!(ground.end(job).await, "succeeded");
    assert_eq!(
        ground.log(job, "system").await,
        "SANDBOX=off: steps run without a sandbox\n"
    );
    for policy in [json!({ "sandbox": true }), json!({ "network": "deny" })] as [Value; 2] {
        let job = ground.submit_with(&["true"], &policy).await;
        assert_eq!(ground.end(job).await, "failed policy");
    }
}

#[tokio::test]
async fn a_sandbox_that_an_administrator_turned_off_for_a_project_is_off_for_that_one_and_said() {
    for environment in [&[][..], &[("SANDBOX_WRAPPER", "/bin/false")]] {
        let Some(ground) = Ground::sandboxed(environment).await else {
            return;
        };
        ground.project("git init -q . && echo one > file && git add -A && git commit -qm first");
        crate::support::tell(&ground.pool, "update project set sandbox = false").await;
        let job = ground
            .submit(&sh("cat file; echo two > file; cat /proc/1/comm", &[]))
            .await;
        assert_eq!(
            ground.end(job).await,
            "succeeded",
            "{}",
            ground.log(job, "system").await
        );
        assert!(!ground.log(job, "stdout").await.contains("bwrap"));
        assert!(
            ground.log(job, "system").await.contains(
                "an administrator has turned the sandbox off for this project: steps run without one"
            )
        );
        assert!(
            String::from_utf8(ground.artifact(job, "patch.diff"))
                .unwrap()
                .contains("+two")
        );
        // Who asks for one, or for what only one can give, is not given less.
        for policy in [json!({ "sandbox": true }), json!({ "network": "deny" })] as [Value; 2] {
            let job = ground.submit_with(&["true"], &policy).await;
            let expected = match environment.is_empty() && policy["sandbox"] == true {
                true => "succeeded",
                false => "failed policy",
            };
            assert_eq!(ground.end(job).await, expected, "{policy} {environment:?}");
        }
        crate::support::tell(&ground.pool, "update project set sandbox = true").await;
        let job = ground.submit(&["true"]).await;
        let expected = if environment.is_empty() {
            "succeeded"
        } else {
            "failed policy"
        };
        assert_eq!(ground.end(job).await, expected);
    }
}
