//! What a step prints becomes rows while it runs: readable, in order, without secrets, bounded.

mod bounds;
mod recent;
pub(super) mod text;

use std::mem;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::bounds::{Head, Tail};
use self::recent::Recent;
use super::process::{Chunk, Stream};
use super::redact::{Redactor, Secrets};
use crate::app::backoff::Backoff;
use crate::app::lease::Session;
use crate::domain::attempt::Fence;
use crate::domain::clock;
use crate::store::log::NewLine;

/// Longest time a piece waits for company.
const GATHER: Duration = Duration::from_millis(100);
/// Bytes at which a flush does not wait any longer, and most bytes in one row.
const ROW: usize = 64 * 1024;

/// Bytes from which nothing more is taken for the head while the database is away: the program waits then.
const AWAY: u64 = 1024 * 1024;
/// Rows from which the same holds: two streams that take turns make many.
const ROWS: usize = 1000;

/// Writes the log of one attempt. Its numbers go on from step to step.
pub(super) struct Log<'a> {
    session: &'a Session,
    fence: Fence,
    seq: i32,
    limit: u64,
    /// Told when the attempt has to stop: nothing waits for the database then.
    stop: &'a CancellationToken,
    /// What must not be seen of the step that runs.
    secrets: Secrets,
    /// Lines of the runner's own that are written with what follows.
    noted: Vec<NewLine>,
    recent: Recent,
}

/// What came of a step's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// Bytes in the log.
    pub(super) bytes: u64,
    /// How many secrets were taken out.
    pub(super) redactions: u32,
}

impl<'a> Log<'a> {
    pub(super) fn new(session: &'a Session, fence: Fence, limit: u64, stop: &'a CancellationToken) -> Self {
        Self {
            session,
            fence,
            seq: 0,
            limit,
            stop,
            secrets: Secrets::default(),
            noted: Vec::new(),
            recent: Recent::default(),
        }
    }

    /// What was written from the number `from` on as it reads, if it is short.
    pub(super) fn text(&self, from: i32) -> Option<String> {
        self.recent.text(from)
    }

    /// The last `most` characters that the program of a step printed, if it was not much.
    pub(super) fn tail(&self, position: i16, most: usize) -> Option<String> {
        self.recent.tail(position, most)
    }

    /// The number of what is written next.
    pub(super) fn place(&self) -> i32 {
        self.seq
    }

    /// What must not be seen of the step that ran last.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Begins with another step, of which these must not be seen.
    pub(super) fn begin(&mut self, secrets: Secrets) {
        self.secrets = secrets;
    }

    /// Writes a line of the runner's own.
    pub(super) async fn say(&mut self, position: i16, text: &str) {
        self.note(position, text);
        let rows = mem::take(&mut self.noted);
        self.write(&rows).await;
    }

    /// The same of a line that can wait for what the step prints first, which it goes before: what is about to run need
    /// not wait for it.
    pub(super) fn note(&mut self, position: i16, text: &str) {
        let (text, _) = self.secrets.redact(text);
        let line = self.line(position, "system", clock::now(), format!("{text}\n"));
        self.noted.push(line);
    }

    /// The next chunk; what was noted waits for it no longer than a piece waits for company.
    async fn next(&mut self, chunks: &mut mpsc::Receiver<Chunk>) -> Option<Chunk> {
        if !self.noted.is_empty() {
            match tokio::time::timeout(GATHER, chunks.recv()).await {
                Ok(chunk) => return chunk,
                Err(_) => {
                    let rows = mem::take(&mut self.noted);
                    self.write(&rows).await;
                }
            }
        }
        chunks.recv().await
    }

    /// Writes what arrives until the senders are gone. Of more than the limit, head and tail are
    /// kept and the cut is said. While the database is away it goes on taking what arrives, so that the program goes on, too.
    pub(super) async fn keep(&mut self, position: i16, mut chunks: mpsc::Receiver<Chunk>) -> Kept {
        let secrets = self.secrets.clone();
        let room = self.limit / 2;
        let mut intake = Intake {
            position,
            decoder: text::Decoder::default(),
            redactor: Redactor::new(&secrets),
            head: Head::new(room),
            tail: Tail::new(self.limit - room),
        };
        let (mut rows, mut gathered) = (Vec::new(), 0);
        loop {
            if gathered == 0 {
                let Some(first) = self.next(&mut chunks).await else {
                    break;
                };
                rows = mem::take(&mut self.noted);
                gathered += self.take(&mut intake, &mut rows, &first);
            }
            let flush_at = tokio::time::Instant::now() + GATHER;
            while gathered < ROW
                && let Ok(Some(chunk)) = tokio::time::timeout_at(flush_at, chunks.recv()).await
            {
                gathered += self.take(&mut intake, &mut rows, &chunk);
            }
            (rows, gathered) = self.write_and_take(rows, &mut intake, &mut chunks).await;
        }
        let mut rows = mem::take(&mut self.noted);
        let Intake {
            decoder,
            mut redactor,
            mut head,
            mut tail,
            ..
        } = intake;
        let halves = decoder
            .finish()
            .map(|(stream, half)| (stream, redactor.pass(stream, &half)));
        for (stream, body) in halves.into_iter().chain(redactor.finish()) {
            let chunk = Chunk {
                stream,
                at: clock::now(),
                bytes: bytes::Bytes::new(),
            };
            let (kept, rest) = head.take(stream, body);
            self.join(&mut rows, position, &chunk, kept);
            tail.push(&chunk, rest);
        }
        let kept = Kept {
            bytes: head.used + tail.held,
            redactions: redactor.count(),
        };
        self.end(position, rows, tail).await;
        kept
    }

    /// Takes a chunk in: of it the head has what it has room for, in `rows`, and the tail the rest. Answers with its length.
    fn take(&mut self, intake: &mut Intake<'_>, rows: &mut Vec<NewLine>, chunk: &Chunk) -> usize {
        let body = intake.decoder.decode(chunk.stream, &chunk.bytes);
        let body = intake.redactor.pass(chunk.stream, &body);
        let (kept, rest) = intake.head.take(chunk.stream, body);
        self.join(rows, intake.position, chunk, kept);
        intake.tail.push(chunk, rest);
        chunk.bytes.len()
    }

    /// Writes `rows` and takes in what arrives meanwhile, up to [`AWAY`]; answers with that.
    async fn write_and_take(
        &mut self,
        rows: Vec<NewLine>,
        intake: &mut Intake<'_>,
        chunks: &mut mpsc::Receiver<Chunk>,
    ) -> (Vec<NewLine>, usize) {
        let (mut more, mut taken, mut open) = (Vec::new(), 0, true);
        let used = intake.head.used;
        let written = {
            let mut writing = pin!(append(self.session, self.fence, self.stop, &rows));
            loop {
                let has_room = intake.head.used - used < AWAY && more.len() < ROWS;
                tokio::select! {
                    biased;
                    written = &mut writing => break written,
                    chunk = chunks.recv(), if open && has_room => match chunk {
                        Some(chunk) => taken += self.take(intake, &mut more, &chunk),
                        None => open = false,
                    },
                }
            }
        };
        self.remember(&rows, written);
        (more, taken)
    }

    async fn end(&mut self, position: i16, mut rows: Vec<NewLine>, tail: Tail) {
        if tail.dropped > 0 {
            let cut = format!(
                "… {} bytes left out: the step printed more than is kept …\n",
                tail.dropped
            );
            rows.push(self.line(position, "system", clock::now(), cut));
        }
        for (chunk, body) in tail.pieces {
            self.join(&mut rows, position, &chunk, body);
        }
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |row: &&NewLine| {
                bytes += row.body.len();
                bytes <= 16 * ROW
            };
            let count = rest.iter().take(ROWS).take_while(fits).count().max(1);
            let (batch, more) = rest.split_at(count);
            self.write(batch).await;
            rest = more;
        }
    }

    /// Adds text to the last row if it is of the same stream and has room, or as a new one.
    fn join(&mut self, rows: &mut Vec<NewLine>, position: i16, chunk: &Chunk, body: String) {
        if body.is_empty() {
            return;
        }
        let stream = name(chunk.stream);
        match rows.last_mut() {
            Some(last) if last.stream == stream && last.body.len() + body.len() <= ROW => {
                last.body.push_str(&body);
            }
            _ => {
                let line = self.line(position, stream, chunk.at, body);
                rows.push(line);
            }
        }
    }

    fn line(
        &mut self,
        position: i16,
        stream: &'static str,
        at: chrono::DateTime<chrono::Utc>,
        body: String,
    ) -> NewLine {
        let seq = self.seq;
        self.seq += 1;
        NewLine {
            seq,
            position,
            stream,
            at,
            body,
        }
    }

    async fn write(&mut self, rows: &[NewLine]) {
        let written = append(self.session, self.fence, self.stop, rows).await;
        self.remember(rows, written);
    }

    fn remember(&mut self, rows: &[NewLine], written: bool) {
        match written {
            true => self.recent.add(rows),
            false => self.recent.forget(),
        }
    }
}

/// Writes rows; while the database is away, until the attempt has to stop. Answers whether they are kept.
async fn append(session: &Session, fence: Fence, stop: &CancellationToken, rows: &[NewLine]) -> bool {
    let mut pause = Backoff::default();
    while !rows.is_empty() {
        match session.append_log(fence, rows).await {
            // A lost lease is noticed, and said, where the attempt ends.
            Ok(held) => return held,
            Err(error) if error.is_unavailable() && !stop.is_cancelled() => pause.wait(stop).await,
            Err(error) => {
                tracing::warn!(job.id = %fence.job, error = %error, "output could not be kept");
                return false;
            }
        }
    }
    true
}

/// What a step prints on its way to rows.
struct Intake<'a> {
    position: i16,
    decoder: text::Decoder,
    redactor: Redactor<'a>,
    head: Head,
    tail: Tail,
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}
