//! Text as it reads: without escape sequences and control characters, and with the way back.

use std::borrow::Cow;
use std::ops::Range;

use super::REDACTED;
use crate::domain::ansi::Stripper;

/// Most bytes of an escape sequence that is waited for.
const SEQUENCE: usize = 4096;

/// What is left of a text without escape sequences.
pub(super) struct Plain<'a> {
    pub(super) text: Cow<'a, str>,
    /// Where each piece begins, here and in the original; empty when they are the same.
    pieces: Vec<(usize, usize)>,
    /// Where an escape sequence begins that is not complete.
    open: Option<usize>,
}

impl<'a> Plain<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        if !raw.bytes().any(is_special) {
            return Self {
                text: Cow::Borrowed(raw),
                pieces: Vec::new(),
                open: None,
            };
        }
        let (mut text, mut pieces) = (String::with_capacity(raw.len()), Vec::new());
        let (parts, open) = Stripper::default().follow(raw);
        for piece in parts {
            // Pieces are parts of the original, so their addresses say where.
            let at = piece.as_ptr() as usize - raw.as_ptr() as usize;
            pieces.push((text.len(), at));
            text.push_str(piece);
        }
        Self {
            text: Cow::Owned(text),
            pieces,
            open: open.filter(|at| raw.len() - at < SEQUENCE),
        }
    }

    /// What of the original holds strings that a terminal does not show: titles, and where links lead. With `whole` also
    /// one that is waited for to be complete.
    pub(super) fn hidden<'r>(&'r self, raw: &'r str, whole: bool) -> impl Iterator<Item = Range<usize>> + 'r {
        let from = std::iter::once(0).chain(self.pieces.iter().enumerate().map(|(place, (start, at))| {
            let next = self
                .pieces
                .get(place + 1)
                .map_or(self.text.len(), |(next, _)| *next);
            at + (next - start)
        }));
        let shown = self.pieces.iter().map(|(_, at)| *at);
        let end = self.open.filter(|_| !whole).unwrap_or(raw.len());
        let gaps = from.zip(shown.chain(std::iter::once(end)));
        gaps.filter(|_| matches!(self.text, Cow::Owned(_)))
            .flat_map(|(from, to)| strings(raw, from..to))
    }

    /// Where a byte of the plain text is in the original.
    fn raw(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= at);
        match piece.checked_sub(1).map(|piece| self.pieces[piece]) {
            Some((start, raw)) => raw + (at - start),
            None => at,
        }
    }

    /// Up to where the original may go on when the plain text may up to `edge`.
    pub(super) fn raw_edge(&self, raw: &str, edge: usize) -> usize {
        match edge < self.text.len() {
            true => self.raw(edge),
            false => self.open.unwrap_or(raw.len()),
        }
    }

    /// The original up to `end`, without the secrets. Escape sequences within one stay, or what
    /// follows would have its colour.
    pub(super) fn without(&self, raw: &str, secrets: &[Range<usize>], end: usize) -> String {
        let mut safe = String::with_capacity(end);
        let mut done = 0;
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            let (from, to) = (self.raw(secret.start), self.raw(secret.end - 1) + 1);
            safe.push_str(&raw[done..from]);
            safe.push_str(REDACTED);
            self.sequences(raw, secret).for_each(|kept| safe.push_str(kept));
            done = to;
        }
        if done < end {
            safe.push_str(&raw[done..end]);
        }
        safe
    }

    /// What of the original lies between the visible parts of a secret.
    fn sequences<'r>(&'r self, raw: &'r str, secret: &Range<usize>) -> impl Iterator<Item = &'r str> {
        let within = secret.clone();
        let starts = self
            .pieces
            .iter()
            .filter(move |(start, _)| within.start < *start && *start < within.end);
        starts.map(|(start, at)| &raw[self.raw(start - 1) + 1..*at])
    }
}

/// What is in the strings among sequences: of an operating system command, a device, a program or nobody (ECMA-48, 5.6).
fn strings(raw: &str, sequences: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = &raw.as_bytes()[..sequences.end];
    let begins = move |at: &usize| {
        let two = (bytes[*at], bytes[*at + 1]);
        matches!(
            two,
            (0x1b, b']' | b'P' | b'X' | b'^' | b'_') | (0xc2, 0x9d | 0x90 | 0x98 | 0x9e | 0x9f)
        )
    };
    let mut done = sequences.start;
    std::iter::from_fn(move || {
        // What begins within a string is of that string.
        let at = (done..bytes.len().saturating_sub(1)).find(begins)?;
        let inside = &bytes[at + 2..];
        let end = inside.iter().position(|byte| *byte == 0x1b);
        done = at + 2 + end.unwrap_or(inside.len());
        Some(at + 2..done)
    })
}

/// Whether a byte is, or may belong to, what is not text.
fn is_special(byte: u8) -> bool {
    // 0xc2 begins the control characters beyond ASCII.
    matches!(byte, 0..=8 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f | 0xc2)
}
