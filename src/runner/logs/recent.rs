//! What an attempt printed, while it is short: whoever wants it need not ask the tables for what just went there.

use crate::domain::ansi::Both;
use crate::store::log::NewLine;

/// Most bytes of it, with what each row takes. Every attempt holds as much.
const SHORT: usize = 16 * 1024;

/// Every row that was kept so far; `None` when they are too many, or when there are some that were not kept.
#[derive(Debug)]
pub(super) struct Recent {
    rows: Option<Vec<NewLine>>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            rows: Some(Vec::new()),
            bytes: 0,
        }
    }
}

impl Recent {
    /// Adds rows that are in the tables now.
    pub(super) fn add(&mut self, rows: &[NewLine]) {
        let held = |row: &NewLine| size_of::<NewLine>() + row.body.len();
        self.bytes += rows.iter().map(held).sum::<usize>();
        match &mut self.rows {
            Some(known) if self.bytes <= SHORT => known.extend_from_slice(rows),
            _ => self.forget(),
        }
    }

    /// Knows nothing any more.
    pub(super) fn forget(&mut self) {
        self.rows = None;
    }

    /// The text from the row number `from` on, without escape sequences.
    pub(super) fn text(&self, from: i32) -> Option<String> {
        let mut text = Both::default();
        let rows = self.rows.as_ref()?.iter().filter(|row| row.seq >= from);
        Some(rows.map(|row| text.read(row.stream, &row.body)).collect())
    }

    /// The last `most` characters that the program of a step printed.
    pub(super) fn tail(&self, position: i16, most: usize) -> Option<String> {
        let rows = self.rows.as_ref()?.iter();
        let printed: String = rows
            .filter(|row| row.position == position && row.stream != "system")
            .map(|row| row.body.as_str())
            .collect();
        let left_out = printed.chars().count().saturating_sub(most);
        Some(printed.chars().skip(left_out).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;

    fn row(seq: i32, stream: &'static str, body: &str) -> NewLine {
        NewLine {
            seq,
            position: 0,
            stream,
            at: clock::now(),
            body: body.to_owned(),
        }
    }

    #[test]
    fn what_is_short_is_known_word_for_word() {
        let mut recent = Recent::default();
        recent.add(&[row(0, "system", "a note\n"), row(1, "stdout", "one \x1b[3")]);
        recent.add(&[row(2, "stderr", "two\n"), row(3, "stdout", "1mthree\n")]);
        assert_eq!(recent.text(0).as_deref(), Some("a note\none two\nthree\n"));
        assert_eq!(recent.text(2).as_deref(), Some("two\n1mthree\n"));
        assert_eq!(recent.tail(0, 8).as_deref(), Some("1mthree\n"));
        assert_eq!(recent.tail(1, 8).as_deref(), Some(""));
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known_whole() {
        let mut long = Recent::default();
        long.add(&[row(0, "stdout", &"x".repeat(SHORT - size_of::<NewLine>()))]);
        assert!(long.text(0).is_some());
        long.add(&[row(1, "stdout", "")]);
        long.add(&[row(2, "stdout", "z")]);
        assert_eq!((long.text(0), long.text(2), long.tail(0, 1)), (None, None, None));
        let mut lost = Recent::default();
        lost.forget();
        lost.add(&[row(1, "stdout", "y")]);
        assert_eq!(lost.text(0), None);
    }
}
