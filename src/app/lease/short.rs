//! Short files, written on threads outside of the runtime: there, object_store writes each at once, where within it a thread
//! is woken for each, which takes longer than to write it.

use std::io;
use std::sync::Arc;

use futures_executor::block_on;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, oneshot};

use super::bundles::{Asked, noted};
use super::files::{Bundle, NotKept, key};
use crate::objects::Objects;
use crate::store::artifact::NewArtifact;

/// Bytes up to which a text is short. What is sent in parts, from [`crate::objects::PART`], needs the runtime.
const SHORT: usize = 256 * 1024;
/// Threads that write the files of one transaction: a directory on another host takes its time for each file.
const HANDS: usize = 4;
/// Threads of the process: those of a directory that hangs stay until it does no more.
static THREADS: Semaphore = Semaphore::const_new(64);

/// What was written of a bundle.
pub(super) type Texts = Result<Vec<NewArtifact>, NotKept>;

/// How long it takes to write a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Short texts for a directory.
    Short,
    /// Texts for a directory, some of which are not short.
    Texts,
    /// As long as it takes: what is in files or was printed, and whatever goes to a bucket.
    Any,
}

impl Length {
    pub(super) fn of((objects, bundle): &Asked) -> Self {
        let texts = bundle.files.iter().map(|file| file.content.text());
        match texts.collect::<Option<Vec<_>>>() {
            Some(texts) if objects.is_directory() => match texts.iter().all(|text| text.len() <= SHORT) {
                true => Self::Short,
                false => Self::Texts,
            },
            _ => Self::Any,
        }
    }
}

/// Writes bundles that are short; answers in their order. Dropped before that, it goes on with no other file: another
/// attempt may write there.
pub(super) async fn written(bundles: &[Asked]) -> Result<Vec<Texts>, NotKept> {
    let each = bundles.len().div_ceil(HANDS).max(1);
    let parts = bundles.chunks(each).map(|part| part_written(part.into()));
    // All of them to their end: none is to be at it when the same is written again.
    let parts: io::Result<Vec<_>> = join_all(parts).await.into_iter().collect();
    Ok(parts?.into_iter().flatten().collect())
}

async fn part_written(bundles: Arc<[Asked]>) -> io::Result<Vec<Texts>> {
    let thread = THREADS.acquire().await.map_err(io::Error::other)?;
    let (tell, written) = oneshot::channel();
    let there = Arc::clone(&bundles);
    let begun = std::thread::Builder::new()
        .name("artifacts".into())
        .spawn(move || {
            let goes_on = || !tell.is_closed();
            let write = |(objects, bundle): &Asked| block_on(texts(objects, bundle, goes_on));
            let all = there.iter().map(write).collect();
            drop(tell.send(all));
            drop(thread);
        });
    if begun.is_err() {
        // Steps may have taken all threads there are for the service and them; the runtime has its own already.
        let here = bundles
            .iter()
            .map(|(objects, bundle)| texts(objects, bundle, || true));
        return Ok(join_all(here).await);
    }
    let gone = |_| io::Error::other("whoever wrote artifacts is gone; the log says why");
    written.await.map_err(gone)
}

async fn texts(objects: &Objects, bundle: &Bundle, goes_on: impl Fn() -> bool) -> Texts {
    let mut artifacts = Vec::with_capacity(bundle.files.len());
    for file in bundle.files.iter().take_while(|_| goes_on()) {
        let text = file.content.text().ok_or(io::ErrorKind::InvalidInput);
        let text = text.map_err(io::Error::from)?;
        let key = key(bundle.fence.job, &file.path);
        artifacts.push(noted(file, objects.put(&key, text.as_bytes()).await?));
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::app::lease::{Content, NewFile};
    use crate::domain::attempt::Fence;
    use crate::domain::id::JobId;

    fn bundle(contents: impl IntoIterator<Item = Content>) -> Bundle {
        let job = JobId::generate();
        let file = |(at, content)| NewFile {
            path: format!("{at}.txt"),
            media_type: "text/plain",
            content,
        };
        Bundle {
            fence: Fence { job, attempt: 1 },
            step: None,
            files: contents.into_iter().enumerate().map(file).collect(),
        }
    }

    fn text(length: usize) -> Content {
        Content::Text("x".repeat(length))
    }

    #[test]
    fn only_short_texts_are_short() {
        let directory = Objects::directory(std::path::Path::new("/nowhere"));
        let length = |contents: Vec<Content>| Length::of(&(directory.clone(), Arc::new(bundle(contents))));
        assert_eq!(length(vec![text(1), text(SHORT)]), Length::Short);
        assert_eq!(length(vec![text(1), text(SHORT + 1)]), Length::Texts);
        assert_eq!(length(vec![text(1), Content::Log(None)]), Length::Any);
    }

    #[test]
    fn nothing_more_is_written_when_nobody_waits_any_more() {
        let root = tempfile::tempdir().unwrap();
        let objects = Objects::directory(root.path());
        let bundle = bundle([text(1), text(2), text(3)]);
        let asked = AtomicUsize::new(0);
        let goes_on = || asked.fetch_add(1, Ordering::Relaxed) < 2;
        let written = block_on(texts(&objects, &bundle, goes_on)).unwrap();
        assert_eq!(written.len(), 2);
        let directory = root.path().join(bundle.fence.job.to_string());
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_text_is_refused_and_not_left_out() {
        let root = tempfile::tempdir().unwrap();
        let objects = Objects::directory(root.path());
        let bundle = bundle([text(1), Content::Log(None)]);
        assert!(block_on(texts(&objects, &bundle, || true)).is_err());
    }
}
