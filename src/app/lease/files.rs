//! What a session keeps of a job beside rows: files, and where its workspace is.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::Session;
use super::bundles::{self, Kept};
use super::short::Length;
use crate::domain::attempt::Fence;
use crate::domain::id::JobId;
use crate::objects::Objects;
use crate::store::artifact::{self, Artifact};
use crate::store::workspace::{self, NewOrigin, Origin};
use crate::store::{self, Result};

/// A file that is to be kept.
#[derive(Debug)]
pub struct NewFile {
    /// Its path below the job's artifacts.
    pub path: String,
    /// What it is.
    pub media_type: &'static str,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Debug)]
pub enum Content {
    /// This.
    Text(String),
    /// What is in another, from its beginning.
    File(File),
    /// What was printed in this attempt from this number on, or all of it in all attempts, without escape sequences.
    Log(Option<i32>),
    /// The same as in another of the job's artifacts.
    Same(String),
}

impl Content {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Files that are kept together or not at all: those of a step, or a job's own.
#[derive(Debug)]
pub struct Bundle {
    /// The attempt that leaves them.
    pub fence: Fence,
    /// The step's number and its directory; `None` for the job's own.
    pub step: Option<(i16, String)>,
    /// All of them.
    pub files: Vec<NewFile>,
}

impl Bundle {
    pub(super) fn step(&self) -> Option<(i16, &str)> {
        let step = self.step.as_ref();
        step.map(|(ordinal, directory)| (*ordinal, directory.as_str()))
    }
}

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The tables are not to be had.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The place for artifacts is not.
    #[error("{0}")]
    Objects(#[from] io::Error),
}

impl NotKept {
    /// Whether trying less at once fares no better.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_away())
    }
}

impl Session {
    /// Keeps files of a job, in place of what was there. `false` means the lease is lost: nothing is kept, and nothing
    /// that was is touched.
    ///
    /// The job's row is held meanwhile, so that nobody else who runs it writes to the same place. Short texts for a
    /// directory go in one transaction with those of others; what may take long holds nobody else up, and few do at once.
    ///
    /// # Errors
    ///
    /// [`NotKept`]; it may be tried again.
    pub async fn keep_files(&self, objects: &Objects, bundle: Arc<Bundle>) -> Kept {
        let asked = (objects.clone(), bundle);
        let length = Length::of(&asked);
        // When whoever keeps them is gone with a panic, it may have been for these: here it is their own.
        if length == Length::Short
            && let Some(kept) = self.bundles.ask(asked.clone()).await
        {
            return kept;
        }
        let _few = self.long.acquire().await;
        let asked = vec![asked];
        let kept = match length {
            Length::Short | Length::Texts => bundles::soon(&self.pool, self.id, self.lease, asked).await,
            Length::Any => bundles::each(&self.pool, self.id, self.lease, asked).await,
        };
        kept.into_iter()
            .next()
            .unwrap_or_else(|| Err(Arc::new(store::Error::unheard().into())))
    }

    /// The artifact of a job at `path`, if there is one.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn artifact(&self, job: JobId, path: &str) -> Result<Option<Artifact>> {
        artifact::find(&self.pool, job, path).await
    }

    /// The path of the patch that was recorded last.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn last_patch(&self, job: JobId) -> Result<Option<String>> {
        artifact::last_patch(&self.pool, job).await
    }

    /// The steps of a job that ended.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn steps(&self, job: JobId) -> Result<Vec<store::step::Step>> {
        store::step::of_job(&self.pool, job).await
    }

    /// The end of what a step printed in this attempt.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn tail(&self, fence: Fence, position: i16, most: i32) -> Result<Option<String>> {
        store::log::tail(&self.pool, fence, position, most).await
    }

    /// What a job's workspace was made from, if one was.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn origin(&self, job: JobId) -> Result<Option<Origin>> {
        workspace::find(&self.pool, job).await
    }

    /// Notes what a job's workspace was made from and where it is, in one statement with those of others.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn note_origin(&self, origin: NewOrigin) -> std::result::Result<(), Arc<store::Error>> {
        let noted = self.origins.ask(origin).await;
        noted.unwrap_or_else(|| Err(Arc::new(store::Error::unheard())))
    }
}

/// Where the bytes of an artifact are.
#[must_use]
pub fn key(job: JobId, path: &str) -> String {
    format!("{job}/{path}")
}
