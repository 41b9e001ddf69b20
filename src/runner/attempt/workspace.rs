//! The workspace an attempt finds, makes, or makes again.

use std::borrow::Borrow;
use std::path::Path;

use super::{Attempt, Stop};
use crate::app::backoff::Backoff;
use crate::app::lease::key;
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::spec::StepSpec;
use crate::runner::host;
use crate::runner::workspace::{Origin, Workspace};
use crate::store;
use crate::store::workspace::NewOrigin;

/// A workspace that is ready.
pub(super) struct Opened {
    pub(super) workspace: Workspace,
    /// Whether it was gone, and made again with what the steps before had changed.
    pub(super) rebuilt: bool,
}

impl Attempt<'_> {
    /// The job's workspace: as an earlier attempt left it on this host, made from the project's directory, or, when
    /// it is gone, made again from the commit it began as and the patch that was recorded last. None is made
    /// for steps that do not look at it.
    pub(super) async fn workspace<'s>(
        &self,
        mut steps: impl Iterator<Item = &'s StepSpec>,
    ) -> Result<Result<Opened, Failure>, Stop> {
        if !steps.any(|step| self.settings.uses_workspace(step)) {
            return Ok(Ok(Opened {
                workspace: Workspace::none(),
                rebuilt: false,
            }));
        }
        let job = self.job.fence.job;
        let noted = match self.job.fence.attempt {
            ..=1 => None,
            _ => {
                self.ask("what a workspace was made from", async || {
                    self.session.origin(job).await
                })
                .await?
            }
        };
        let patch = match &noted {
            None => None,
            Some(_) => {
                self.ask("the patch of a workspace", async || {
                    self.session.last_patch(job).await
                })
                .await?
            }
        };
        Ok(self.find_or_make(noted.as_ref(), patch).await)
    }

    /// Notes what a workspace was made from, and that it is here.
    pub(super) async fn note(&self, workspace: &Workspace) -> Result<(), Stop> {
        let Some(origin) = workspace.origin() else {
            return Ok(());
        };
        let origin = NewOrigin {
            fence: self.job.fence,
            host: host(),
            kind: origin.kind.into(),
            base: origin.base.clone(),
        };
        self.ask("where a workspace is", || {
            self.session.note_origin(origin.clone())
        })
        .await
    }

    async fn find_or_make(
        &self,
        noted: Option<&store::workspace::Origin>,
        patch: Option<String>,
    ) -> Result<Opened, Failure> {
        let (settings, job) = (self.settings, self.job.fence.job);
        // What lies here of a job that went on elsewhere is what it was then.
        let here = noted.is_none_or(|noted| noted.host == host());
        if here
            && let Some(workspace) =
                Workspace::found(&settings.workspaces_root, job, self.job.without_sandbox)
        {
            return Ok(Opened {
                workspace,
                rebuilt: false,
            });
        }
        let before = match noted {
            Some(noted) if noted.forgotten => return Err(forgotten()),
            Some(noted) => Origin::read(&noted.kind, &noted.base),
            None => None,
        };
        let directory = Path::new(&self.job.project_directory);
        let bound = &self.brake.bound();
        let workspace = Workspace::make(
            settings,
            job,
            directory,
            before.as_ref(),
            self.job.without_sandbox,
            bound,
        )
        .await?;
        if let Some(patch) = patch {
            self.restore(&workspace, &patch).await?;
        }
        workspace.seal()?;
        Ok(Opened {
            workspace,
            rebuilt: before.is_some(),
        })
    }

    /// Brings in what the steps before had changed.
    async fn restore(&self, workspace: &Workspace, path: &str) -> Result<(), Failure> {
        let not_restored = |why: &str| {
            Failure::new(
                Code::Workspace,
                format!(
                    "The job's workspace is gone and could not be made again: {path} {why}. Retry the job, or submit it again."
                ),
            )
        };
        let read = self
            .settings
            .objects
            .read(&key(self.job.fence.job, path), u64::MAX)
            .await;
        let patch = read
            .map_err(|error| not_restored(&format!("cannot be read: {error}")))?
            .ok_or_else(|| not_restored("is not where artifacts are kept"))?;
        workspace.apply(self.settings, patch, &self.brake.bound()).await
    }

    /// Asks the tables, and waits for them while they are away.
    async fn ask<T, E: Borrow<store::Error>, F: Future<Output = Result<T, E>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, Stop> {
        let mut pause = Backoff::default();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.wait_for_tables(what, error.borrow(), &mut pause).await?,
            }
            if let Some(reason) = self.brake.reason() {
                return Err(match super::ending(reason, None) {
                    Ok((ending, _)) => Some(ending),
                    Err(stop) => stop,
                });
            }
        }
    }
}

fn forgotten() -> Failure {
    Failure::new(
        Code::Workspace,
        "The job's workspace is gone and cannot be made again: what its steps left is past its time (ARTIFACTS_TTL_SEC). Submit the job again.",
    )
}
