//! Workspaces of jobs that ended long ago, on this host, are deleted: a bounded number at a time, never one
//! that is in use. Where their disk has no room for steps any more, so are those of jobs that ended just now: each can
//! be made again from what was recorded.
//!
//! A workspace is first renamed, under the lock of its job, so that a job that goes on meanwhile finds it whole or not at
//! all. What was renamed is deleted afterwards, however long that takes, and by whoever comes next if this ends.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::process::Bound;
use super::{Settings, room, workspace};
use crate::app::workspaces;
use crate::domain::id::JobId;
use crate::store::{Pool, Result};

/// Longest time between two looks at what is old.
const LONGEST: Duration = Duration::from_secs(300);
/// Time between two looks at the room there is.
const ROOM: Duration = Duration::from_secs(5);
/// Most workspaces that are looked up at once.
const BATCH: usize = 200;
/// What the name of a workspace that is being deleted begins with.
const GOING: &str = ".going-";

/// Looks and deletes until `stop`. Any number of runners of a host may do so at once.
pub(super) async fn run(settings: Settings, pool: Pool, stop: CancellationToken) {
    let Some(ttl) = settings.workspaces_ttl else {
        return;
    };
    let every = LONGEST.min(ttl.max(Duration::from_secs(1)));
    let mut said = false;
    let mut due = Instant::now();
    while !stop.is_cancelled() {
        let short = room::is_short(&settings);
        if !short && Instant::now() < due {
            let _ = tokio::time::timeout(ROOM.min(every), stop.cancelled()).await;
            continue;
        }
        let swept = sweep(&settings, &pool, if short { Duration::ZERO } else { ttl }, &stop).await;
        match &swept {
            Ok(0) => {}
            Ok(count) if short => {
                tracing::warn!(
                    workspaces = count,
                    "deleted workspaces of ended jobs early: the disk has less room than twice WORKSPACES_MIN_FREE_MB"
                );
            }
            Ok(count) => tracing::info!(workspaces = count, "deleted workspaces that are past their time"),
            Err(error) if said => tracing::debug!(error = %error, "old workspaces stay still"),
            Err(error) => tracing::warn!(error = %error, "old workspaces stay; trying again"),
        }
        said = swept.is_err();
        // Drawn around the set time, so that the runners of a host do not meet each time.
        due = Instant::now() + every.mul_f64(rand::random_range(0.75..=1.25));
        let _ = tokio::time::timeout(ROOM.min(every), stop.cancelled()).await;
    }
}

async fn sweep(settings: &Settings, pool: &Pool, ttl: Duration, stop: &CancellationToken) -> Result<u64> {
    let bound = &Bound::from(stop.clone());
    let root = settings.workspaces_root.clone();
    let listed = tokio::task::spawn_blocking(move || list(&root)).await;
    let Found { jobs, going } = listed.unwrap_or_default();
    let mut count = 0;
    for batch in jobs.chunks(BATCH) {
        for job in workspaces::not_in_use(pool, batch, ttl, None).await? {
            if stop.is_cancelled() {
                return Ok(count);
            }
            count += u64::from(delete(settings, pool, job, ttl, bound).await?);
        }
    }
    for left in going {
        remove(settings, &left, bound).await;
    }
    Ok(count)
}

/// What is in the directory of workspaces.
#[derive(Default)]
struct Found {
    jobs: Vec<Uuid>,
    /// What somebody renamed and did not delete.
    going: Vec<PathBuf>,
}

fn list(root: &Path) -> Found {
    let mut found = Found::default();
    let entries = std::fs::read_dir(root).into_iter().flatten();
    for entry in entries.filter_map(io::Result::ok) {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(GOING) {
            found.going.push(entry.path());
        } else if let Ok(job) = name.parse() {
            found.jobs.push(job);
        }
    }
    found
}

async fn delete(settings: &Settings, pool: &Pool, job: JobId, ttl: Duration, bound: &Bound) -> Result<bool> {
    let from = settings.workspaces_root.join(job.to_string());
    let to = settings
        .workspaces_root
        .join(format!("{GOING}{}", Uuid::now_v7()));
    let rename = async || std::fs::rename(&from, &to);
    match workspaces::take(pool, job, ttl, None, rename).await? {
        Ok(true) => {
            remove(settings, &to, bound).await;
            Ok(true)
        }
        Ok(false) => Ok(false),
        // Another runner of this host was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            tracing::warn!(job.id = %job, error = %error, "an old workspace cannot be taken away");
            Ok(false)
        }
    }
}

async fn remove(settings: &Settings, path: &Path, bound: &Bound) {
    match workspace::remove(settings, path, bound).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "an old workspace is not deleted yet");
        }
    }
}
