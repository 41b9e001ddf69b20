//! Short files, written on threads outside of the runtime: there, object_store writes each at once, where within it a thread
//! is woken for each, which takes longer than to write it.

use std::io;

use futures_executor::block_on;
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, oneshot};

use super::bundles::{Asked, noted};
use super::files::{Bundle, NotKept, key};
use crate::objects::Objects;
use crate::store::artifact::NewArtifact;

/// Bytes up to which a text is short. What is sent in parts, from [`crate::objects::PART`], needs the runtime.
const LENGTH: usize = 256 * 1024;
/// Threads that write the files of one transaction: a directory on another host takes its time for each file.
const HANDS: usize = 4;
/// Threads of the process: those of a directory that hangs stay until it does no more.
static THREADS: Semaphore = Semaphore::const_new(64);

/// What was written of a bundle.
pub(super) type Texts = Result<Vec<NewArtifact>, NotKept>;

/// Whether all of it is soon written: short texts, for a directory.
pub(super) fn is_short(objects: &Objects, bundle: &Bundle) -> bool {
    let mut texts = bundle.files.iter().map(|file| file.content.text());
    objects.is_directory() && texts.all(|text| text.is_some_and(|text| text.len() <= LENGTH))
}

/// Writes bundles that are short; answers in their order. Dropped before that, it goes on with no other file: another
/// attempt may write there.
pub(super) async fn written(bundles: &[Asked]) -> Result<Vec<Texts>, NotKept> {
    let each = bundles.len().div_ceil(HANDS).max(1);
    let parts = bundles.chunks(each).map(|part| part_written(part.to_vec()));
    Ok(try_join_all(parts).await?.into_iter().flatten().collect())
}

async fn part_written(bundles: Vec<Asked>) -> io::Result<Vec<Texts>> {
    let thread = THREADS.acquire().await.map_err(io::Error::other)?;
    let (tell, written) = oneshot::channel();
    std::thread::Builder::new()
        .name("artifacts".into())
        .spawn(move || {
            let goes_on = || !tell.is_closed();
            let write = |(objects, bundle): &Asked| block_on(texts(objects, bundle, goes_on));
            let all = bundles.iter().map(write).collect();
            drop(tell.send(all));
            drop(thread);
        })?;
    let gone = |_| io::Error::other("whoever wrote artifacts is gone; the log says why");
    written.await.map_err(gone)
}

async fn texts(objects: &Objects, bundle: &Bundle, goes_on: impl Fn() -> bool) -> Texts {
    let mut artifacts = Vec::with_capacity(bundle.files.len());
    for file in bundle.files.iter().take_while(|_| goes_on()) {
        let Some(text) = file.content.text() else { continue };
        let key = key(bundle.fence.job, &file.path);
        artifacts.push(noted(file, objects.put(&key, text.as_bytes()).await?));
    }
    Ok(artifacts)
}
