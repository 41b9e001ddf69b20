//! The files of attempts that end at the same time are kept in one transaction, and so with one commit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::files::{Bundle, Content, NewFile, NotKept, key};
use super::short::{self, Length};
use crate::app::gather::{Company, Gather, all_or_each};
use crate::domain::ansi::Both;
use crate::domain::attempt::Fence;
use crate::domain::id::RunnerId;
use crate::objects::{Objects, Written};
use crate::store::artifact::{self, NewArtifact, Noted};
use crate::store::log::Place;
use crate::store::{self, Connection, Pool};

/// Transactions under way at once: while one waits for the disk, the files of the next are written.
const WORKERS: usize = 2;
/// Most bundles of one transaction.
const MOST: usize = 32;
/// Rows of a log that are read at once; a row has at most 64 KiB.
const ROWS: u32 = 64;

/// Whether the attempt is held, and so its files are kept.
pub(super) type Kept = Result<bool, Arc<NotKept>>;

/// Files, and where they are to go.
pub(super) type Asked = (Objects, Arc<Bundle>);

/// Where to leave files.
pub(super) type Bundles = Gather<Asked, Kept>;

/// Keeps what is left there, as the files of attempts that `runner` holds.
pub(super) fn together(pool: &Pool, runner: RunnerId, lease: Duration, company: Company) -> Bundles {
    let pool = pool.clone();
    Gather::start(WORKERS, MOST, company, move |asked| {
        let pool = pool.clone();
        async move { soon(&pool, runner, lease, asked).await }
    })
}

/// Keeps each of them, all texts for a directory: one that hangs does not hold rows and a connection for ever.
pub(super) async fn soon(pool: &Pool, runner: RunnerId, lease: Duration, asked: Vec<Asked>) -> Vec<Kept> {
    let number = asked.len();
    match timeout(lease * 2, each(pool, runner, lease, asked)).await {
        Ok(kept) => kept,
        Err(elapsed) => {
            let hangs = Arc::new(NotKept::Objects(elapsed.into()));
            vec![Err(hangs); number]
        }
    }
}

/// Keeps each of them; answers in their order.
pub(super) async fn each(pool: &Pool, runner: RunnerId, lease: Duration, asked: Vec<Asked>) -> Vec<Kept> {
    let all = |asked: Arc<[Asked]>| async move { all(pool, runner, lease, &asked).await };
    let kept = all_or_each(asked, all, |error: &NotKept| error.is_away()).await;
    kept.into_iter().map(|kept| kept?.map_err(Arc::new)).collect()
}

/// One transaction for all. A file that cannot be written is the matter of its own attempt.
async fn all(
    pool: &Pool,
    runner: RunnerId,
    lease: Duration,
    asked: &[Asked],
) -> Result<Vec<Result<bool, NotKept>>, NotKept> {
    let mut connection = pool.lend().await.map_err(store::Error::from)?;
    let mut transaction = connection.begin().await.map_err(store::Error::from)?;
    let fences: Vec<Fence> = asked.iter().map(|(_, bundle)| bundle.fence).collect();
    let held = artifact::hold(&mut transaction, runner, &fences, lease).await?;
    let (ours, lost): (Vec<_>, Vec<_>) = asked
        .iter()
        .enumerate()
        .partition(|(_, (_, bundle))| held.contains(&bundle.fence));
    let written = match ours[..] {
        [(_, asked @ (objects, bundle))] if Length::of(asked) != Length::Short => {
            vec![long(objects, &mut transaction, bundle, lease / 3).await]
        }
        _ => {
            let ours: Vec<Asked> = ours.iter().map(|(_, asked)| (*asked).clone()).collect();
            meanwhile(&mut transaction, lease / 3, short::written(&ours)).await?
        }
    };
    let mut kept: Vec<_> = lost.iter().map(|(place, _)| (*place, Ok(false))).collect();
    let (mut noted, mut whose) = (Vec::with_capacity(ours.len()), Vec::with_capacity(ours.len()));
    for ((place, (objects, bundle)), written) in ours.iter().zip(written) {
        let artifacts = written.map(|artifacts| {
            whose.push(objects);
            noted.push(Noted {
                fence: bundle.fence,
                step: bundle.step(),
                artifacts,
            });
            true
        });
        kept.push((*place, artifacts));
    }
    if !noted.is_empty() {
        artifact::put(&mut *transaction, &noted).await?;
    }
    // While the row is held: later, another attempt may have written to the same place.
    for (noted, objects) in noted.iter().zip(whose).filter(|(noted, _)| noted.may_replace()) {
        for path in artifact::prune(&mut *transaction, noted).await? {
            objects.delete(&key(noted.fence.job, &path)).await?;
        }
    }
    transaction.commit().await.map_err(store::Error::from)?;
    connection.done();
    kept.sort_by_key(|(place, _)| *place);
    Ok(kept.into_iter().map(|(_, kept)| kept).collect())
}

/// Writes files of any kind, one after the other, with a word to the server as often as `every`: what takes long is not
/// to be taken for a runner that is frozen, whose transaction it ends.
async fn long(
    objects: &Objects,
    db: &mut Connection,
    bundle: &Bundle,
    every: Duration,
) -> Result<Vec<NewArtifact>, NotKept> {
    let mut artifacts = Vec::with_capacity(bundle.files.len());
    for file in &bundle.files {
        let path = |path: &str| key(bundle.fence.job, path);
        let key = path(&file.path);
        let written = match &file.content {
            Content::Text(text) => meanwhile(db, every, objects.put(&key, text.as_bytes())).await?,
            Content::File(file) => meanwhile(db, every, objects.put_file(&key, file.try_clone()?)).await?,
            Content::Same(other) => meanwhile(db, every, objects.copy(&path(other), &key)).await?,
            Content::Log(from) => log(objects, db, bundle.fence, *from, &key).await?,
        };
        artifacts.push(noted(file, written));
    }
    Ok(artifacts)
}

/// Writes with a word to the server as often as `every`.
async fn meanwhile<T, E>(
    db: &mut Connection,
    every: Duration,
    writing: impl Future<Output = Result<T, E>>,
) -> Result<T, NotKept>
where
    NotKept: From<E>,
{
    let mut writing = pin!(writing);
    loop {
        match timeout(every, &mut writing).await {
            Ok(written) => return written.map_err(NotKept::from),
            Err(_) => artifact::still_hold(db).await?,
        }
    }
}

/// What is noted of a file that was written.
pub(super) fn noted(file: &NewFile, Written { size, sha256 }: Written) -> NewArtifact {
    NewArtifact {
        path: file.path.clone(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        sha256,
        media_type: file.media_type,
    }
}

async fn log(
    objects: &Objects,
    db: &mut Connection,
    fence: Fence,
    from: Option<i32>,
    key: &str,
) -> Result<Written, NotKept> {
    let mut writer = objects.create(key)?;
    let mut text = Both::default();
    let mut place = from.map_or(Place::START, |from| Place {
        attempt: fence.attempt,
        seq: from - 1,
    });
    loop {
        let rows = store::log::after(&mut *db, fence.job, place, ROWS).await?;
        for row in &rows {
            if let Err(error) = writer.write(text.read(&row.stream, &row.body).as_bytes()).await {
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
