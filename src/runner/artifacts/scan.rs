//! A look for secrets in a patch, as the files it is made of read.

use std::io::{self, BufRead as _, BufReader, Read};

use futures_util::{StreamExt as _, future, stream};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::runner::Settings;
use crate::runner::logs::text::Decoder;
use crate::runner::process::{Bound, Chunk, Stream};
use crate::runner::redact::{Redactor, Secrets};
use crate::runner::workspace::{Patch, Workspace};

/// Bytes that are looked at together.
const GATHER: usize = 64 * 1024;
/// Longest name of a file that is said, in characters.
const NAME: usize = 200;

/// What a look at a patch has shown.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Clean,
    /// The file that holds a secret.
    Secret(String),
    /// A file of it is packed, and does not read as it is.
    Packed,
}

/// The file in which a patch holds a secret, if it holds one. What is packed in it is read from git as it passes: it
/// may be far larger than the patch, and the disk that steps fill is no place for it.
///
/// # Errors
///
/// `workspace`, when the patch cannot be read.
pub(super) async fn finds(
    workspace: &Workspace,
    patch: &Patch,
    settings: &Settings,
    secrets: &Secrets,
    bound: &Bound,
) -> Result<Option<String>, Failure> {
    let file = patch.open().map_err(|error| unreadable(&error))?;
    let looked = match aside(file, secrets).await? {
        Look::Packed => {
            let (output, chunks) = mpsc::channel(16);
            let reading = aside(SyncIoBridge::new(StreamReader::new(printed(chunks))), secrets);
            let (told, looked) = tokio::join!(workspace.patch_as_text(settings, output, bound), reading);
            told?;
            looked?
        }
        looked => looked,
    };
    match looked {
        Look::Secret(file) => Ok(Some(file)),
        Look::Clean => Ok(None),
        // It was asked for as text.
        Look::Packed => Err(unreadable(&io::Error::other("git packed what it was to show"))),
    }
}

/// Looks where waiting for a disk or for git holds nobody up.
async fn aside(patch: impl Read + Send + 'static, secrets: &Secrets) -> Result<Look, Failure> {
    let secrets = secrets.clone();
    let looking = tokio::task::spawn_blocking(move || look(patch, &secrets)).await;
    let looked = looking.map_err(io::Error::other).and_then(|looked| looked);
    looked.map_err(|error| unreadable(&error))
}

fn printed(
    mut chunks: mpsc::Receiver<Chunk>,
) -> impl stream::Stream<Item = io::Result<bytes::Bytes>> + Unpin {
    let chunks = stream::poll_fn(move |context| chunks.poll_recv(context));
    chunks.filter_map(|chunk| future::ready((chunk.stream == Stream::Stdout).then_some(Ok(chunk.bytes))))
}

fn unreadable(error: &io::Error) -> Failure {
    let sentence = format!("What the step changed could not be read: {error}.");
    Failure::new(Code::Workspace, sentence)
}

fn look(patch: impl Read, secrets: &Secrets) -> io::Result<Look> {
    let mut lines = BufReader::with_capacity(64 * 1024, patch);
    let mut looking = Looking {
        decoder: Decoder::default(),
        redactor: Redactor::new(secrets),
        gathered: String::new(),
    };
    let mut name = "its beginning".to_owned();
    let mut line = Vec::new();
    loop {
        let begins = line.last().is_none_or(|last| *last == b'\n');
        line.clear();
        // A line may have gigabytes, and then comes in pieces that nothing is cut from.
        let length = Read::take(&mut lines, GATHER as u64).read_until(b'\n', &mut line)?;
        let next = line.strip_prefix(b"diff --git ").filter(|_| begins);
        let next = next.map(|rest| named(rest, secrets));
        let found = match length == 0 || next.is_some() {
            true => looking.ends(),
            false => looking.gathered.len() > GATHER && looking.goes_on(),
        };
        if found {
            return Ok(Look::Secret(name));
        }
        if length == 0 {
            return Ok(Look::Clean);
        }
        // Content has a sign before it, so this is none.
        if begins && line == b"GIT binary patch\n" {
            return Ok(Look::Packed);
        }
        name = next.unwrap_or(name);
        // Without what says of each line whether it comes or goes, or a secret of several lines would not be one.
        let text = match line.first() {
            Some(b'+' | b'-' | b' ') if begins => &line[1..],
            _ => &line[..],
        };
        let text = looking.decoder.decode(Stream::Stdout, text);
        looking.gathered.push_str(&text);
    }
}

/// One file of a patch, a piece at a time.
struct Looking<'a> {
    decoder: Decoder,
    redactor: Redactor<'a>,
    gathered: String,
}

impl Looking<'_> {
    /// Whether there was a secret up to here, but for what may be the beginning of one.
    fn goes_on(&mut self) -> bool {
        let text = std::mem::take(&mut self.gathered);
        self.redactor.pass(Stream::Stdout, &text);
        self.redactor.count() > 0
    }

    /// Whether there was a secret.
    fn ends(&mut self) -> bool {
        let [(stream, rest), _] = std::mem::take(&mut self.decoder).finish();
        self.gathered.push_str(&rest);
        let text = std::mem::take(&mut self.gathered);
        self.redactor.pass(stream, &text);
        self.redactor.finish();
        self.redactor.count() > 0
    }
}

/// `a/name b/name` as people say it, without secrets of its own.
fn named(of: &[u8], secrets: &Secrets) -> String {
    let of = String::from_utf8_lossy(of);
    let of = of.trim_end();
    let name = of.rsplit_once(" b/").map_or(of, |(_, name)| name);
    let (name, _) = secrets.redact(name);
    name.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patch: &str, secrets: &Secrets) -> Option<String> {
        match look(patch.as_bytes(), secrets).unwrap() {
            Look::Secret(name) => Some(name),
            Look::Clean => None,
            Look::Packed => panic!("nothing is packed in {patch}"),
        }
    }

    #[test]
    fn a_secret_is_found_with_its_file_also_over_several_lines() {
        let secrets = Secrets::of(["first line\nsecond line", "hunter2hunter2"]);
        let one = "diff --git a/x b/x\n+nothing\ndiff --git a/d/y b/d/y\n+password=hunter2hunter2\n";
        assert_eq!(found(one, &secrets).as_deref(), Some("d/y"));
        let lines = "diff --git a/x b/x\n+first line\n+second line\n";
        assert_eq!(found(lines, &secrets).as_deref(), Some("x"));
        let shape = format!("diff --git a/x b/x\n-AKIA{}\n", "IOSFODNN7REALKEY");
        assert_eq!(found(&shape, &Secrets::default()).as_deref(), Some("x"));
        // Where it goes on after so much as is read at once, a line looks like one of the patch.
        let long = format!(
            "diff --git a/x b/x\n+{}GIT binary patch\n+AKIA{}\n",
            "y".repeat(GATHER - 1),
            "IOSFODNN7REALKEY"
        );
        assert_eq!(found(&long, &secrets).as_deref(), Some("x"));
        let cut = format!(
            "diff --git a/x b/x\n+{} -hunter2hunter2\n",
            "y".repeat(GATHER - 2)
        );
        assert_eq!(
            found(&cut, &Secrets::of(["-hunter2hunter2"])).as_deref(),
            Some("x")
        );
        let clean = "diff --git a/x b/x\n+first line\n third line\n+hunter2\n";
        assert_eq!(found(clean, &secrets), None);
    }
}
