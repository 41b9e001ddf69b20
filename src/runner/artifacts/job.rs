//! What a job leaves behind when it ends.

use serde_json::json;

use super::{JSON, Keeping, MARKDOWN, PATCH, TEXT, pretty, text};
use crate::app::backoff::Backoff;
use crate::app::lease::{Content, NewFile};
use crate::domain::attempt::{Ending, StepRecord};
use crate::domain::clock;
use crate::domain::result::{JobResult, StepSummary};
use crate::domain::spec::JobSpec;
use crate::runner::logs::Log;
use crate::runner::step::Place;
use crate::store::step::Step;
use crate::store::usage::Told;

impl Keeping<'_> {
    /// Keeps the files of a job that ends so, with the step it ends in unless that is recorded. That some could not
    /// be kept does not change how the job ended.
    pub(in crate::runner) async fn job(
        &self,
        place: &Place<'_>,
        ending: &Ending,
        last: Option<&StepRecord>,
        log: &Log<'_>,
    ) {
        if !self.is_ours() {
            return;
        }
        let mut pause = Backoff::default();
        let files = loop {
            match self.files(place, ending, last, log).await {
                Err(error) if error.is_unavailable() && self.is_ours() => {
                    tracing::warn!(job.id = %place.job.fence.job, error = %error, "artifacts wait for the database");
                    pause.wait(&self.bound().stop).await;
                }
                files => break files,
            }
        };
        let kept = match files {
            Ok(files) => self
                .patiently(place, None, files)
                .await
                .map_err(|failure| failure.message),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = kept {
            tracing::error!(job.id = %place.job.fence.job, error = %why, "the job's own artifacts were not kept");
        }
    }

    async fn files(
        &self,
        place: &Place<'_>,
        ending: &Ending,
        last: Option<&StepRecord>,
        log: &Log<'_>,
    ) -> crate::store::Result<Vec<NewFile>> {
        let (job, spec) = (place.job.fence.job, place.spec);
        let is_first = place.job.fence.attempt == 1;
        let (steps, told, patch) = match last {
            // Nothing can have been recorded before it.
            Some(last) if last.ordinal == 0 && is_first => {
                let patch = last.patched.then(|| format!("steps/{}/patch.diff", last.step_id));
                (Vec::new(), Vec::new(), patch)
            }
            _ => (
                self.session.steps(job).await?,
                self.session.told(job).await?,
                self.session.last_patch(job).await?,
            ),
        };
        let printed = match is_first {
            true => log.text(0),
            false => None,
        };
        let secrets = self.settings.sensitive.of_job(spec);
        let clean = |text: String| secrets.redact(&text).0;
        let result = result(place, ending, &steps, last);
        let mut files = vec![
            text("job.json".into(), JSON, clean(pretty(&as_asked(place)))),
            text("result.json".into(), JSON, clean(pretty(&result))),
            text("context.json".into(), JSON, clean(pretty(&context(spec, &told)))),
            text(
                "report.md".into(),
                MARKDOWN,
                clean(report(spec, &result, &told, last)),
            ),
            NewFile {
                path: "logs.txt".into(),
                media_type: TEXT,
                content: printed.map_or(Content::Log(None), Content::Text),
            },
        ];
        if let Some(path) = patch {
            files.push(NewFile {
                path: "patch.diff".into(),
                media_type: PATCH,
                content: Content::Same(path),
            });
        }
        Ok(files)
    }
}

fn as_asked(place: &Place<'_>) -> serde_json::Value {
    json!({
        "job_id": place.job.fence.job,
        "project_id": place.job.project_alias,
        "spec": place.spec,
    })
}

/// What agents of the job were told besides their tasks.
fn context(spec: &JobSpec, told: &[Told]) -> serde_json::Value {
    let steps: Vec<_> = told
        .iter()
        .map(|told| json!({ "step_id": told.step_id, "status": told.status, "message": told.message, "said": told.said }))
        .collect();
    json!({
        "goal": spec.goal,
        "context_strategy": spec.context_strategy,
        "context_window": spec.context_window,
        "steps": steps,
    })
}

fn result(place: &Place<'_>, ending: &Ending, steps: &[Step], last: Option<&StepRecord>) -> JobResult {
    let fence = place.job.fence;
    let mut summaries: Vec<(i16, StepSummary)> = Vec::new();
    let recorded = steps.iter().map(|step| (step.position, summary(step)));
    let ended = last.map(|step| (step.position, StepSummary::of_record(fence.attempt, step)));
    for (position, summary) in recorded.chain(ended) {
        summaries.retain(|(known, _)| *known != position);
        summaries.push((position, summary));
    }
    summaries.sort_by_key(|(position, _)| *position);
    JobResult {
        job_id: fence.job,
        project_id: place.job.project_alias.clone(),
        goal: place.spec.goal.clone(),
        state: ending.state(),
        code: ending.failure().map(|failure| failure.code),
        message: ending.message().map(str::to_owned),
        attempt: fence.attempt,
        finished_at: clock::now(),
        steps: summaries.into_iter().map(|(_, summary)| summary).collect(),
    }
}

fn summary(step: &Step) -> StepSummary {
    StepSummary {
        step_id: step.step_id.clone(),
        agent: step.agent.clone(),
        status: step.status.clone(),
        code: step.code,
        attempt: step.attempt,
        wall_ms: (step.finished_at - step.started_at).num_milliseconds().max(0),
    }
}

/// Everything that was reported, for a person.
fn report(spec: &JobSpec, result: &JobResult, told: &[Told], last: Option<&StepRecord>) -> String {
    let mut report = format!("# {}\n\nThe job {}.", spec.goal, result.state);
    if let Some(message) = &result.message {
        report.push_str(&format!(" {message}"));
    }
    report.push('\n');
    for step in &result.steps {
        report.push_str(&format!("\n## Step {}: {}\n", step.step_id, step.status));
        let from_last = last
            .filter(|last| last.step_id == step.step_id)
            .and_then(|last| last.usage.as_ref().map(|usage| usage.report.as_str()));
        let said = from_last.or_else(|| {
            let told = told.iter().find(|told| told.step_id == step.step_id)?;
            told.said.as_deref()
        });
        let said = said.unwrap_or_default().trim();
        if !said.is_empty() {
            report.push_str(&format!("\n{}\n", crate::domain::ansi::strip(said)));
        }
    }
    report
}
