//! Results on standard output. A reader that goes away (`| head`) ends the program quietly.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

/// Writes text as it is.
///
/// # Errors
///
/// When standard output cannot be written, unless its reader is gone.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    written(anstream::stdout().lock(), text.as_bytes())
}

/// Writes bytes as they are, also what a terminal would not show.
///
/// # Errors
///
/// As [`text`].
pub(super) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    written(std::io::stdout().lock(), bytes)
}

fn written(mut out: impl std::io::Write, bytes: &[u8]) -> anyhow::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => Ok(written?),
    }
}

/// Tells a person, on standard error, what is no result.
pub(super) fn note(text: &str) {
    // There is nobody else to tell.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Writes one JSON document on one line.
///
/// # Errors
///
/// As [`text`].
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// A table for people: borderless, as wide as the terminal.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(head)
        .add_rows(rows);
    table.trim_fmt() + "\n"
}

/// What somebody else wrote, for a cell of a table: without escape sequences and line ends, and not long.
pub(super) fn cell(text: &str) -> String {
    const LONGEST: usize = 60;
    let plain: String = crate::domain::ansi::strip(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    match plain.char_indices().nth(LONGEST) {
        None => plain,
        Some((end, _)) => format!("{}…", &plain[..end]),
    }
}

/// Whoever read our output has gone; there is nobody left to tell.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output is gone")]
pub(super) struct ReaderGone;
