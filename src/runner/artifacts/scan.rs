//! A look for secrets in a patch, as the files it is made of read.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};

use crate::runner::logs::text::Decoder;
use crate::runner::process::Stream;
use crate::runner::redact::{Redactor, Secrets};
use crate::runner::workspace::Patch;

/// Bytes that are looked at together.
const GATHER: usize = 64 * 1024;
/// Longest name of a file that is said, in characters.
const NAME: usize = 200;

/// The file in which a patch holds a secret, if it holds one.
///
/// # Errors
///
/// When the patch cannot be read.
pub(super) async fn finds(patch: &Patch, secrets: &Secrets) -> io::Result<Option<String>> {
    let file = match patch.open_as_text() {
        Some(plain) => plain,
        None => patch.open()?,
    };
    let secrets = secrets.clone();
    tokio::task::spawn_blocking(move || look(file, &secrets)).await?
}

fn look(patch: File, secrets: &Secrets) -> io::Result<Option<String>> {
    let mut lines = BufReader::with_capacity(64 * 1024, patch);
    let mut looking = Looking {
        decoder: Decoder::default(),
        redactor: Redactor::new(secrets),
        gathered: String::new(),
    };
    let mut name = "its beginning".to_owned();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line may have gigabytes, and then comes in pieces that nothing is cut from.
        let length = io::Read::take(&mut lines, GATHER as u64).read_until(b'\n', &mut line)?;
        let next = line.strip_prefix(b"diff --git ").map(|rest| named(rest, secrets));
        let found = match length == 0 || next.is_some() {
            true => looking.ends(),
            false => looking.gathered.len() > GATHER && looking.goes_on(),
        };
        if found {
            return Ok(Some(name));
        }
        if length == 0 {
            return Ok(None);
        }
        name = next.unwrap_or(name);
        // Without what says of each line whether it comes or goes, or a secret of several lines would not be one.
        let text = match line.first() {
            Some(b'+' | b'-' | b' ') => &line[1..],
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
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, patch.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        look(file, secrets).unwrap()
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
        let clean = "diff --git a/x b/x\n+first line\n third line\n+hunter2\n";
        assert_eq!(found(clean, &secrets), None);
    }
}
