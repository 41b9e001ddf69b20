//! `--demo`: a sample job through the webhook, followed to its end.

use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::app::authenticate::Caller;
use crate::app::overview::overview;
use crate::cli::follow::Reader;
use crate::cli::{output, status};
use crate::domain::id::JobId;
use crate::store::Pool;

/// Posts the sample job, prints its log as it grows, its outcome, and where to look further.
pub(super) async fn run(pool: &Pool, url: &str, token: &SecretString) -> anyhow::Result<()> {
    let job = post(url, token).await?;
    output::text(&format!(
        "\nDemo: posted job {job} to {url}/webhook; this is its log:\n\n"
    ))?;
    Reader::new(job)
        .follow(pool, |line| {
            output::text(&format!("  | {}\n", line.body.trim_end().replace('\n', "\n  | ")))
        })
        .await?;
    let caller = Caller::operator("dev");
    let found = overview(pool, &caller, job)
        .await?
        .with_context(|| format!("job {job} is gone"))?;
    output::text(&format!(
        "\nDemo: {}\nLook at it: {url}/docs (authorize with the token above), or\n  curl -s {url}/jobs/{job} -H 'Authorization: Bearer {}'\n",
        status::for_people(&found, None),
        token.expose_secret(),
    ))
}

async fn post(url: &str, token: &SecretString) -> anyhow::Result<JobId> {
    let sample = json!({
        "goal": "Show that a posted job really runs",
        "project_id": "demo",
        "steps": [
            { "step_id": "look", "argv": ["uname", "-sr"] },
            { "step_id": "write", "argv": ["sh", "-c", "date -u > made-by-write && echo wrote made-by-write in $(basename \"$PWD\")"] },
            { "step_id": "read", "argv": ["cat", "made-by-write"] },
        ],
        "metadata": { "from": "orchestrator dev --demo" },
    });
    let answer = reqwest::Client::new()
        .post(format!("{url}/webhook"))
        .bearer_auth(token.expose_secret())
        .json(&sample)
        .send()
        .await
        .context("the webhook could not be reached")?;
    let status = answer.status();
    let body: Value = answer.json().await.context("the webhook's answer is no JSON")?;
    match body["job_id"].as_str().map(str::parse) {
        Some(Ok(job)) => Ok(job),
        _ => bail!("the webhook answered {status}: {body}"),
    }
}
