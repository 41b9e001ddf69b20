//! Keyset pages: a cursor names the last row seen, so a page costs the same wherever it is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Rows on a page when the caller does not say.
pub const DEFAULT_LIMIT: u16 = 50;
/// Most rows on a page.
pub const MAX_LIMIT: u16 = 500;

/// Where a page begins: after this row, in a list with this filter.
///
/// The text form carries a check of the filter, so that a cursor of another list is refused
/// instead of silently answering with the wrong rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub Uuid);

/// The cursor was not made by the list it is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor of this list: use the `next` link of a page with the same filters")]
pub struct InvalidCursor;

impl Cursor {
    /// The text callers hand back.
    #[must_use]
    pub fn encode(self, filter: &str) -> String {
        let mut bytes = self.0.as_bytes().to_vec();
        bytes.extend(crc32fast::hash(filter.as_bytes()).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Cursor::encode`] wrote for the same filter.
    ///
    /// # Errors
    ///
    /// [`InvalidCursor`] for anything else.
    pub fn decode(text: &str, filter: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let (id, check) = bytes.split_at_checked(16).ok_or(InvalidCursor)?;
        if check != crc32fast::hash(filter.as_bytes()).to_be_bytes() {
            return Err(InvalidCursor);
        }
        Uuid::from_slice(id).map(Self).map_err(|_| InvalidCursor)
    }
}

/// Rows of a list, and where the next page begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, at most as many as asked for.
    pub items: Vec<T>,
    /// The last row's key when there are more.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Makes a page of `limit` rows from a query that asked for one more.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> Uuid) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| Cursor(key(last)));
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_only_with_its_own_filter() {
        let cursor = Cursor(Uuid::now_v7());
        let text = cursor.encode("state=failed");
        assert_eq!(Cursor::decode(&text, "state=failed"), Ok(cursor));
        for (text, filter) in [
            (text.as_str(), "state=running"),
            ("", ""),
            ("AAAA", ""),
            ("%", ""),
        ] {
            assert_eq!(Cursor::decode(text, filter), Err(InvalidCursor));
        }
    }

    #[test]
    fn only_a_full_page_with_more_behind_it_has_a_next() {
        let ids: Vec<_> = (0..3).map(|_| Uuid::now_v7()).collect();
        assert_eq!(Page::cut(ids.clone(), 3, |id| *id).next, None);
        assert_eq!(Page::cut(ids.clone(), 2, |id| *id).next, Some(Cursor(ids[1])));
    }
}
