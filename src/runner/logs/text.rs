//! Bytes become text PostgreSQL can hold: what is not UTF-8 becomes `�`, NUL becomes `␀`, and a
//! character that arrives in two chunks stays whole.

use super::Stream;

/// Longest beginning of a UTF-8 character that can wait for its rest.
const LONGEST_PART: usize = 3;

/// Decodes two streams that arrive in chunks.
#[derive(Default)]
pub(in crate::runner) struct Decoder {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Decoder {
    /// The text of a chunk, with what was left of the stream's last one.
    pub(in crate::runner) fn decode(&mut self, stream: Stream, bytes: &[u8]) -> String {
        let waiting = self.waiting(stream);
        waiting.extend_from_slice(bytes);
        let whole = waiting.len() - unfinished(waiting);
        let rest = waiting.split_off(whole);
        readable(&std::mem::replace(waiting, rest))
    }

    /// What is left when the streams end.
    pub(in crate::runner) fn finish(self) -> [(Stream, String); 2] {
        [
            (Stream::Stdout, readable(&self.stdout)),
            (Stream::Stderr, readable(&self.stderr)),
        ]
    }

    fn waiting(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(LONGEST_PART)..];
    match std::str::from_utf8(tail) {
        Ok(_) => 0,
        // The tail may itself begin in the middle of a character, so look from each possible start.
        Err(_) => (1..=tail.len())
            .rev()
            .find(|length| {
                std::str::from_utf8(&tail[tail.len() - length..])
                    .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
            })
            .unwrap_or(0),
    }
}

fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "␀")
}

/// Cuts text after at most `limit` bytes, at the edge of a character.
pub(super) fn split_at_most(mut text: String, limit: usize) -> (String, String) {
    if text.len() <= limit {
        return (text, String::new());
    }
    let rest = text.split_off(text.floor_char_boundary(limit));
    (text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_in(chunks: &[&[u8]]) -> String {
        let mut decoder = Decoder::default();
        let mut text: String = chunks
            .iter()
            .map(|chunk| decoder.decode(Stream::Stdout, chunk))
            .collect();
        text.push_str(&decoder.finish()[0].1);
        text
    }

    #[test]
    fn nul_and_bytes_that_are_no_utf8_stay_readable() {
        assert_eq!(decode_in(&[b"a\0b\xff\xfec"]), "a␀b��c");
        assert_eq!(decode_in(&[b"cut \xe2\x82"]), "cut �");
    }

    #[test]
    fn streams_do_not_mix_their_halves() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(Stream::Stdout, b"\xe2\x82"), "");
        assert_eq!(decoder.decode(Stream::Stderr, b"x"), "x");
        assert_eq!(decoder.decode(Stream::Stdout, b"\xac"), "€");
    }

    proptest! {
        #[test]
        fn where_chunks_are_cut_does_not_change_the_text(text in "\\PC{0,40}", cuts in prop::collection::vec(0..160usize, 0..6)) {
            let bytes = text.as_bytes();
            let mut edges: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            edges.extend([0, bytes.len()]);
            edges.sort_unstable();
            let chunks: Vec<&[u8]> = edges.windows(2).map(|edge| &bytes[edge[0]..edge[1]]).collect();
            prop_assert_eq!(decode_in(&chunks), text);
        }

        #[test]
        fn a_cut_keeps_every_byte_and_no_more_than_the_limit(text in "\\PC{0,40}", limit in 0..50usize) {
            let (head, rest) = split_at_most(text.clone(), limit);
            prop_assert!(head.len() <= limit);
            prop_assert_eq!(head + &rest, text);
        }
    }
}
