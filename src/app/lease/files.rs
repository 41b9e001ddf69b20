//! What a session keeps of a job beside rows: files, and where its workspace is.

use std::fs::File;
use std::io;

use super::Session;
use crate::domain::ansi::Stripper;
use crate::domain::attempt::Fence;
use crate::domain::id::JobId;
use crate::objects::{Objects, Written};
use crate::store::artifact::{self, Artifact, NewArtifact};
use crate::store::log::Place;
use crate::store::workspace::{self, Origin};
use crate::store::{self, Connection, Result};

/// Rows of a log that are read at once; a row has at most 64 KiB.
const ROWS: u32 = 64;

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

impl Session {
    /// Keeps these files of a job, those of the step number `ordinal` in `directory` or the job's own, in place of
    /// what was there. `false` means the lease is lost: nothing is kept, and nothing that was is touched.
    ///
    /// The job's row is held meanwhile, so that nobody else who runs it writes to the same place.
    ///
    /// # Errors
    ///
    /// [`NotKept`]; it may be tried again.
    pub async fn keep_files(
        &self,
        objects: &Objects,
        fence: Fence,
        step: Option<(i16, &str)>,
        files: &[NewFile],
    ) -> std::result::Result<bool, NotKept> {
        let mut connection = self.pool.lend().await.map_err(store::Error::from)?;
        let mut transaction = connection.begin().await.map_err(store::Error::from)?;
        if !artifact::hold(&mut transaction, self.id, fence, self.lease).await? {
            return Ok(false);
        }
        let mut rows = Vec::with_capacity(files.len());
        for file in files {
            let Written { size, sha256 } = write(objects, &mut transaction, fence, file).await?;
            rows.push(NewArtifact {
                path: file.path.clone(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                sha256,
                media_type: file.media_type,
            });
        }
        for path in artifact::put(&mut *transaction, fence, step, &rows).await? {
            objects.delete(&key(fence.job, &path)).await?;
        }
        transaction.commit().await.map_err(store::Error::from)?;
        connection.done();
        Ok(true)
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

    /// Notes what a job's workspace was made from, and that `host` has it.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when PostgreSQL is away.
    pub async fn note_origin(&self, fence: Fence, host: &str, kind: &str, base: &str) -> Result<()> {
        workspace::put(&self.pool, self.id, fence, host, kind, base).await
    }
}

/// Where the bytes of an artifact are.
#[must_use]
pub fn key(job: JobId, path: &str) -> String {
    format!("{job}/{path}")
}

async fn write(
    objects: &Objects,
    db: &mut Connection,
    fence: Fence,
    file: &NewFile,
) -> std::result::Result<Written, NotKept> {
    let key = key(fence.job, &file.path);
    Ok(match &file.content {
        Content::Text(text) => objects.put(&key, text.as_bytes()).await?,
        Content::File(file) => objects.put_file(&key, file.try_clone()?).await?,
        Content::Same(path) => objects.copy(&self::key(fence.job, path), &key).await?,
        Content::Log(from) => write_log(objects, db, fence, *from, &key).await?,
    })
}

async fn write_log(
    objects: &Objects,
    db: &mut Connection,
    fence: Fence,
    from: Option<i32>,
    key: &str,
) -> std::result::Result<Written, NotKept> {
    let mut writer = objects.create(key)?;
    let (mut stdout, mut stderr) = (Stripper::default(), Stripper::default());
    let mut place = from.map_or(Place::START, |from| Place {
        attempt: fence.attempt,
        seq: from - 1,
    });
    loop {
        let rows = store::log::after(&mut *db, fence.job, place, ROWS).await?;
        for row in &rows {
            let stripper = match row.stream.as_str() {
                "stderr" => &mut stderr,
                _ => &mut stdout,
            };
            let text = stripper.parts(&row.body).concat();
            if let Err(error) = writer.write(text.as_bytes()).await {
                return Ok(writer.give_up(error).await?);
            }
        }
        match rows.last() {
            Some(last) if rows.len() >= ROWS as usize => {
                place = Place {
                    attempt: last.attempt,
                    seq: last.seq,
                };
            }
            _ => return Ok(writer.finish().await?),
        }
    }
}
