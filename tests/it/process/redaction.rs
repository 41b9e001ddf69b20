//! Secrets that steps print, and where they must not arrive.

use serde_json::json;

use super::runner::Ground;
use crate::support::{ask, until};

/// A key of a shape everybody knows, put together so that no scanner of this repository finds one.
fn key() -> String {
    format!("ghp{}{}", "_", "a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6")
}

/// Everything in the tables that could hold what a step printed, or why it failed.
async fn everything(ground: &Ground) -> String {
    let all = "select concat_ws(' ', (select string_agg(body, ' ') from log), (select string_agg(message, ' ') from step),
                      (select string_agg(message, ' ') from job), (select string_agg(detail::text, ' ') from event))";
    ask(&ground.pool, &format!("({all})")).await
}

#[tokio::test]
async fn a_key_printed_in_two_halves_reaches_no_table() {
    let ground = Ground::bare(&[]).await;
    let key = key();
    let (first, second) = key.split_at(11);
    let script = r#"printf 'the key is %s' "$1"; sleep 0.5; printf '%s, said the agent\n' "$2""#;
    let job = ground.submit(&["sh", "-c", script, "sh", first, second]).await;
    assert_eq!(ground.end(job).await, "succeeded");
    assert_eq!(
        ground.log(job, "stdout").await,
        "the key is [REDACTED], said the agent\n"
    );
    let counted = format!("select redactions from step where job_id = '{job}'");
    assert_eq!(ask(&ground.pool, &counted).await, "1");
    let everything = everything(&ground).await;
    assert!(
        !everything.contains(first) && !everything.contains(second),
        "{everything}"
    );
}

#[tokio::test]
async fn named_values_of_the_runner_and_of_the_step_are_taken_out() {
    let ground = Ground::bare(&[
        ("SENSITIVE_ENV_VARS", "DEPLOY_WORD,STEP_WORD,SHORT"),
        ("DEPLOY_WORD", "open sesame"),
        ("SHORT", "echo"),
    ])
    .await;
    let steps = json!([{
        "step_id": "s", "env": { "STEP_WORD": "abracadabra", "OTHER": "hocus pocus" }, "max_retries": 0,
        "argv": ["sh", "-c", "echo open sesame, $STEP_WORD, $OTHER, echo; printf abraca >&2; sleep 0.2; echo dabra >&2"]
    }]);
    let job = ground.submit_steps(&steps, &json!({})).await;
    assert_eq!(ground.end(job).await, "succeeded");
    assert_eq!(
        ground.log(job, "stdout").await,
        "[REDACTED], [REDACTED], hocus pocus, echo\n"
    );
    assert_eq!(ground.log(job, "stderr").await, "[REDACTED]\n");
}

#[tokio::test]
async fn what_one_step_was_given_is_taken_out_of_what_the_others_print() {
    let ground = Ground::bare(&[("SENSITIVE_ENV_VARS", "STEP_WORD")]).await;
    let steps = json!([
        { "step_id": "given", "env": { "STEP_WORD": "abracadabra" }, "argv": ["sh", "-c", "echo word > .gitignore; echo $STEP_WORD > word"] },
        { "step_id": "other", "argv": ["cat", "word"] },
    ]);
    let job = ground.submit_steps(&steps, &json!({})).await;
    assert_eq!(ground.end(job).await, "succeeded");
    assert_eq!(ground.log(job, "stdout").await, "[REDACTED]\n");
    let everything = everything(&ground).await;
    assert!(!everything.contains("abracadabra"), "{everything}");
}

#[tokio::test]
async fn why_a_step_failed_says_no_secret_either() {
    let ground = Ground::bare(&[]).await;
    let key = key();
    let job = ground.submit(&[&key]).await;
    assert_eq!(ground.end(job).await, "failed spawn");
    let everything = everything(&ground).await;
    assert!(
        everything.contains("`[REDACTED]` was not found") && !everything.contains(&key),
        "{everything}"
    );
}

#[tokio::test]
async fn what_is_printed_is_followed_live_all_the_same() {
    let ground = Ground::bare(&[]).await;
    let script = "printf 'Proceed? '; while [ ! -e go ]; do sleep 0.05; done; echo yes";
    let job = ground.submit(&["sh", "-c", script]).await;
    let asked = async || (ground.log(job, "stdout").await == "Proceed? ").then_some(());
    until(asked).await;
    std::fs::write(ground.directory.join(format!("workspaces/{job}/work/go")), "").unwrap();
    assert_eq!(ground.end(job).await, "succeeded");
}
