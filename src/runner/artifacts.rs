//! What steps and jobs leave behind: files for people and programs, kept before anybody hears of the end.
//!
//! ```text
//! ARTIFACTS_ROOT/<job>/              result.json report.md patch.diff logs.txt job.json context.json
//! ARTIFACTS_ROOT/<job>/steps/<step>/ result.json report.md patch.diff logs.txt
//! ```
//!
//! Text was freed of secrets on its way here. A patch cannot be: what it would bring into a workspace must be what
//! the step made. So a patch that holds a secret is not kept, and the step fails.

mod job;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::held::{Brake, Reason};
use super::logs::Log;
use super::process::Bound;
use super::redact::Secrets;
use super::step::Place;
use super::workspace::Patch;
use crate::app::backoff::Backoff;
use crate::app::lease::{Bundle, Content, NewFile, NotKept, Session};
use crate::domain::attempt::{Failure, StepRecord};
use crate::domain::job::Code;
use crate::domain::result::StepResult;
use crate::domain::spec::StepSpec;

/// How long the place for artifacts may be away before a step fails for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const JSON: &str = "application/json";
pub(super) const MARKDOWN: &str = "text/markdown; charset=utf-8";
pub(super) const PATCH: &str = "text/x-diff; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Longest that one look at what a stopped attempt leaves behind takes: a step can make one that never ends.
const LAST: Duration = Duration::from_secs(60);

/// Whose files are kept, and how.
#[derive(Clone, Copy)]
pub(super) struct Keeping<'a> {
    pub(super) settings: &'a Settings,
    pub(super) session: &'a Session,
    pub(super) brake: &'a Brake,
}

impl Keeping<'_> {
    /// Takes what a step that ended changed in the workspace, unless the step is another's to end. What speaks
    /// against keeping it is the step's failure, unless it has one.
    pub(super) async fn take(
        &self,
        place: &Place<'_>,
        record: &mut StepRecord,
        secrets: &Secrets,
        log: &mut Log<'_>,
    ) -> Option<Patch> {
        if !self.is_ours() {
            return None;
        }
        // The step had what was left of the job's time; what it changed has as much again, and a minute in any case.
        let longest = place.left.map_or(Duration::MAX, |left| left.max(LAST));
        let taken = timeout(longest, self.patch(place, secrets, log)).await;
        match taken.unwrap_or_else(|_| Err(out_of_time(longest))) {
            Ok(patch) => patch,
            Err(failure) => {
                log.say(place.position, &failure.message).await;
                record.failure.get_or_insert(failure);
                None
            }
        }
    }

    async fn patch(
        &self,
        place: &Place<'_>,
        secrets: &Secrets,
        log: &mut Log<'_>,
    ) -> Result<Option<Patch>, Failure> {
        let patch = place.workspace.patch(self.settings, &self.bound()).await?;
        let Some(patch) = patch else { return Ok(None) };
        if !patch.left_out.is_empty() {
            let names = patch
                .left_out
                .iter()
                .take(10)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let count = patch.left_out.len();
            let line = format!("the patch leaves out {count} file(s) that their owner may not read: {names}");
            log.say(place.position, &line).await;
        }
        match scan::finds(place.workspace, &patch, self.settings, secrets, &self.bound()).await? {
            None => Ok(Some(patch)),
            Some(file) => Err(Failure::new(
                Code::SecretsFound,
                format!(
                    "What the step changed holds a secret, so its patch is not kept: it is in {file}. Take it out there, and read secrets from the environment instead."
                ),
            )),
        }
    }

    /// Keeps the files of a step that ended.
    pub(super) async fn step(
        &self,
        step: &StepSpec,
        place: &Place<'_>,
        record: &mut StepRecord,
        patch: Option<Patch>,
        report: String,
        printed: Content,
    ) {
        if !self.is_ours() {
            return;
        }
        let directory = format!("steps/{}", step.step_id);
        let fence = place.job.fence;
        let size = patch.as_ref().map(|patch| patch.size);
        let result = StepResult::of(fence.job, fence.attempt, record, size);
        let path = |name: &str| format!("{directory}/{name}");
        let mut files = vec![
            text(path("result.json"), JSON, pretty(&result)),
            text(path("report.md"), MARKDOWN, report),
            NewFile {
                path: path("logs.txt"),
                media_type: TEXT,
                content: printed,
            },
        ];
        match patch.map(|patch| patch.open()) {
            None => {}
            Some(Ok(file)) => {
                record.patched = true;
                files.push(NewFile {
                    path: path("patch.diff"),
                    media_type: PATCH,
                    content: Content::File(file),
                });
            }
            Some(Err(error)) => {
                record.failure.get_or_insert(not_kept(&error));
            }
        }
        let kept = self
            .patiently(place, Some((record.ordinal, directory)), files)
            .await;
        if let Err(failure) = kept {
            record.patched = false;
            record.failure.get_or_insert(failure);
        }
    }

    /// Keeps files, and waits for the tables and, for a while, for the place where files are.
    async fn patiently(
        &self,
        place: &Place<'_>,
        step: Option<(i16, String)>,
        files: Vec<NewFile>,
    ) -> Result<(), Failure> {
        let fence = place.job.fence;
        let bundle = Arc::new(Bundle { fence, step, files });
        let brake = self.brake.clone();
        let objects = self.settings.objects.held(move || !brake.is_over());
        let begun = tokio::time::Instant::now();
        let mut pause = Backoff::default();
        loop {
            let kept = self.session.keep_files(&objects, Arc::clone(&bundle)).await;
            match kept.as_ref().map_err(Arc::as_ref) {
                // A lost lease is noticed, and said, where the attempt ends.
                Ok(_held) => return Ok(()),
                Err(_) if self.brake.reason() == Some(Reason::LeaseLost) => return Ok(()),
                Err(NotKept::Store(error)) if error.is_unavailable() => {
                    tracing::warn!(job.id = %fence.job, error = %error, "artifacts wait for the database");
                }
                Err(NotKept::Objects(error)) if begun.elapsed() < PATIENCE => {
                    tracing::warn!(job.id = %fence.job, error = %error, "an artifact could not be written; trying again");
                }
                Err(error) => {
                    tracing::error!(job.id = %fence.job, error = %error, "artifacts were not kept");
                    return Err(not_kept(error));
                }
            }
            pause.wait(&self.bound().stop).await;
        }
    }

    /// Whether what is left behind is this attempt's to keep.
    fn is_ours(&self) -> bool {
        matches!(self.brake.reason(), None | Some(Reason::Cancelled))
    }

    /// What bounds the keeping: what stops the attempt, or [`LAST`] when it is stopped already.
    fn bound(&self) -> Bound {
        if self.brake.reason().is_none() {
            return self.brake.bound();
        }
        let stop = CancellationToken::new();
        let later = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST).await;
            later.cancel();
        });
        self.brake.bound_by(stop)
    }
}

fn out_of_time(longest: Duration) -> Failure {
    Failure::new(
        Code::Timeout,
        format!(
            "To see what the step changed took longer than {} s, which the job has for it: let the step change less, let .gitignore name what is built, or raise the job's timeout_sec.",
            longest.as_secs()
        ),
    )
}

fn not_kept(error: &impl std::fmt::Display) -> Failure {
    Failure::new(
        Code::Artifacts,
        format!(
            "What the step left behind could not be kept: {error}. See to where artifacts are kept, and retry the job."
        ),
    )
}

fn text(path: String, media_type: &'static str, text: String) -> NewFile {
    NewFile {
        path,
        media_type,
        content: Content::Text(text),
    }
}

/// As a person reads it, with a line end.
fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
