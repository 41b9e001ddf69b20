//! How much of a step's output is kept: its first bytes and its last.

use std::collections::VecDeque;

use super::text;
use crate::runner::process::{Chunk, Stream};

/// How often the two streams of a step may take turns in its head, and most pieces of its tail that are not full: each is a
/// row, and a row takes more than the byte that may be in it.
const TURNS: usize = 10_000;

/// Bytes from which a piece of the tail takes no more.
const PIECE: usize = 4 * 1024;

/// The first bytes.
pub(super) struct Head {
    room: u64,
    pub(super) used: u64,
    last: Option<Stream>,
    turns: usize,
}

impl Head {
    pub(super) fn new(room: u64) -> Self {
        Self {
            room,
            used: 0,
            last: None,
            turns: 0,
        }
    }

    /// What there is room for, and the rest.
    pub(super) fn take(&mut self, stream: Stream, body: String) -> (String, String) {
        if self.last.replace(stream) != Some(stream) {
            self.turns += 1;
        }
        if self.turns > TURNS {
            self.room = 0;
        }
        let (kept, rest) = text::split_at_most(body, usize::try_from(self.room).unwrap_or(usize::MAX));
        self.used += kept.len() as u64;
        // Nothing follows what was cut, or the order would not be that of the output.
        self.room = match rest.is_empty() {
            true => self.room - kept.len() as u64,
            false => 0,
        };
        (kept, rest)
    }
}

/// The last bytes of what no longer fits, and how many were dropped before them.
pub(super) struct Tail {
    room: u64,
    most: usize,
    pub(super) held: u64,
    pub(super) dropped: u64,
    pub(super) pieces: VecDeque<(Chunk, String)>,
}

impl Tail {
    pub(super) fn new(room: u64) -> Self {
        Self {
            room,
            most: TURNS + usize::try_from(room).unwrap_or(usize::MAX) / PIECE,
            held: 0,
            dropped: 0,
            pieces: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, chunk: &Chunk, body: String) {
        if body.is_empty() {
            return;
        }
        self.held += body.len() as u64;
        match self.pieces.back_mut() {
            // A program that prints byte by byte must not cost a piece a byte.
            Some((last, text)) if last.stream == chunk.stream && text.len() < PIECE => text.push_str(&body),
            _ => {
                let at = Chunk {
                    stream: chunk.stream,
                    at: chunk.at,
                    bytes: bytes::Bytes::new(),
                };
                self.pieces.push_back((at, body));
            }
        }
        while self.held > self.room || self.pieces.len() > self.most {
            let Some((chunk, oldest)) = self.pieces.pop_front() else {
                return;
            };
            let over = match self.pieces.len() < self.most {
                true => usize::try_from(self.held - self.room).unwrap_or(usize::MAX),
                false => oldest.len(),
            };
            let (cut, kept) = text::split_at_most(oldest, over);
            // A character that straddles the cut goes with it, so that the loop always ends.
            let (cut, kept) = if cut.is_empty() {
                (kept, String::new())
            } else {
                (cut, kept)
            };
            self.held -= cut.len() as u64;
            self.dropped += cut.len() as u64;
            if !kept.is_empty() {
                self.pieces.push_front((chunk, kept));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;

    #[test]
    fn streams_that_take_turns_byte_by_byte_make_no_more_rows_than_are_allowed() {
        let (mut head, mut tail, mut rows) = (Head::new(1 << 19), Tail::new(1 << 19), 0);
        let all = 100_000;
        for number in 0..all {
            let stream = [Stream::Stdout, Stream::Stderr][number % 2];
            let (kept, rest) = head.take(stream, "x".to_owned());
            rows += kept.len();
            let chunk = Chunk {
                stream,
                at: clock::now(),
                bytes: bytes::Bytes::new(),
            };
            tail.push(&chunk, rest);
        }
        assert_eq!((rows, tail.pieces.len()), (TURNS, tail.most));
        assert!(tail.most < 2 * TURNS);
        assert_eq!(head.used + tail.held + tail.dropped, all as u64);
    }

    #[test]
    fn a_tail_of_full_pieces_is_as_long_as_it_may_be() {
        let room = 4 * (TURNS * PIECE) as u64;
        let mut tail = Tail::new(room);
        let chunk = Chunk {
            stream: Stream::Stdout,
            at: clock::now(),
            bytes: bytes::Bytes::new(),
        };
        for _ in 0..5 * TURNS {
            tail.push(&chunk, "x".repeat(PIECE));
        }
        assert_eq!((tail.held, tail.dropped), (room, (TURNS * PIECE) as u64));
    }

    #[test]
    fn one_stream_is_bounded_by_its_bytes_alone() {
        let mut head = Head::new(1 << 20);
        for _ in 0..1 << 20 {
            assert_eq!(head.take(Stream::Stdout, "x".to_owned()).1, "");
        }
        assert_eq!(head.take(Stream::Stdout, "x".to_owned()).1, "x");
    }
}
