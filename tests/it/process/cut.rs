//! Patches whose taking failed or was cut off: made anew when they are asked for again, never half.

use serde_json::json;

use super::runner::Ground;
use crate::support::ask;

#[tokio::test]
async fn a_patch_that_could_not_be_made_is_tried_again_though_nothing_changed_since() {
    let Some(ground) = Ground::sandboxed(&[("MAX_ARTIFACT_MB", "1")]).await else {
        return;
    };
    let goes_on = json!({ "on_failure": "continue" });
    let (job, end) = ground
        .steps(&[
            ("large", "head -c 3000000 /dev/urandom > large", goes_on.clone()),
            ("nothing", "true", goes_on),
            ("small", "rm large; echo small > small", json!({})),
        ])
        .await;
    let ended = format!(
        "select string_agg(concat_ws(' ', step_id, status, code), ', ' order by position) from step where job_id = '{job}'"
    );
    assert_eq!(
        ask(&ground.pool, &ended).await,
        "large failed output_limit, nothing failed output_limit, small succeeded"
    );
    assert_eq!(end, "succeeded");
    for step in ["large", "nothing"] {
        assert!(
            !ground
                .artifact_path(job, &format!("steps/{step}/patch.diff"))
                .exists()
        );
    }
    let patch = String::from_utf8_lossy(&ground.artifact(job, "steps/small/patch.diff")).into_owned();
    assert!(patch.contains("b/small") && !patch.contains("b/large"), "{patch}");
}

#[tokio::test]
async fn a_patch_whose_making_was_killed_is_whole_the_next_time() {
    let ground = Ground::new(&[("SANDBOX", "off")]).await;
    ground.project("git init -q . && echo old > old && git add -A && git commit -qm first");
    // As git is left by a kill in the middle of each of its files.
    let cut = "touch ../base/index.lock ../patch.due; rm ../patch.diff; printf half > ../patch.new";
    let (job, end) = ground
        .steps(&[("one", "echo one > one", json!({})), ("cut", cut, json!({}))])
        .await;
    assert_eq!(end, "succeeded", "{}", ground.log(job, "system").await);
    assert_eq!(
        ground.artifact(job, "steps/cut/patch.diff"),
        ground.artifact(job, "steps/one/patch.diff")
    );
}
