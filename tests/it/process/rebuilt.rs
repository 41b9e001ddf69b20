//! A workspace that is gone is made again, or the job says why it cannot be.

use orchestrator::domain::approval::{Decision, Word};
use serde_json::json;

use super::runner::Ground;
use super::workspace::REPOSITORY;
use crate::support::{ask, until};

#[tokio::test]
async fn a_workspace_that_is_gone_is_made_again_with_what_the_steps_had_changed() {
    for project in [
        REPOSITORY,
        "echo one > file && mkdir d && echo two > d/two",
        "true",
    ] {
        let Some(ground) = Ground::sandboxed(&[]).await else {
            return;
        };
        ground.project(project);
        let job = ground
            .submit_shells(&[
                (
                    "change",
                    "echo changed >> file; printf 'b\\0c' > new; rm -f d/two",
                    json!({}),
                ),
                (
                    "asks",
                    "test -e marker && ls && cat file",
                    json!({ "on_failure": "ask_human" }),
                ),
                ("last", "cmp new new && touch done", json!({})),
            ])
            .await;
        let state = format!("select state from job where id = '{job}'");
        until(async || (ask(&ground.pool, &state).await == "awaiting_approval").then_some(())).await;
        std::fs::remove_dir_all(ground.directory.join(format!("workspaces/{job}"))).unwrap();
        // The project goes on meanwhile; the job does not.
        if project == REPOSITORY {
            ground.project("echo elsewhere > file && git commit -qam later");
        }
        let word = Word {
            decision: Decision::Approved,
            comment: None,
            prompt: None,
            attempt: None,
        };
        // Its answer is in the workspace that is made again, as one of a person who has only the patch would be.
        ground.decide(job, &word).await;
        let asked_again = format!("select count(*) = 2 from approval where job_id = '{job}'");
        until(async || (ask(&ground.pool, &asked_again).await == "true").then_some(())).await;
        let work = ground.directory.join(format!("workspaces/{job}/work"));
        assert!(
            std::fs::read_to_string(work.join("file"))
                .unwrap()
                .ends_with("changed\n")
        );
        assert_eq!(std::fs::read(work.join("new")).unwrap(), b"b\0c");
        assert!(!work.join("d/two").exists());
        std::fs::write(work.join("marker"), "").unwrap();
        ground.decide(job, &word).await;
        assert_eq!(
            ground.end(job).await,
            "succeeded",
            "{}",
            ground.log(job, "stderr").await
        );
        assert!(
            ground
                .log(job, "system")
                .await
                .contains("the job's workspace was gone: it was made again")
        );
        let origins = format!("select count(*) from workspace where job_id = '{job}'");
        assert_eq!(ask(&ground.pool, &origins).await, "1");
    }
}

#[tokio::test]
async fn a_workspace_cannot_be_made_again_from_what_is_not_there_any_more() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground.project(REPOSITORY);
    let job = ground
        .submit_shells(&[("asks", "exit 1", json!({ "on_failure": "ask_human" }))])
        .await;
    let state = format!("select state from job where id = '{job}'");
    until(async || (ask(&ground.pool, &state).await == "awaiting_approval").then_some(())).await;
    std::fs::remove_dir_all(ground.directory.join(format!("workspaces/{job}"))).unwrap();
    ground.project("rm -rf .git && git init -q . && git add -A && git commit -qm other");
    ground
        .decide(
            job,
            &Word {
                decision: Decision::Approved,
                comment: None,
                prompt: None,
                attempt: None,
            },
        )
        .await;
    assert_eq!(ground.end(job).await, "failed workspace");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(
        message.contains("which the job began with, is no longer in the project"),
        "{message}"
    );
}
