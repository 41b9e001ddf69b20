//! Reads what a program prints, bounded: no more is read than the reader of the log takes.

use std::io;

use bytes::Bytes;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{Permit, Sender};

use super::{Chunk, Stream};
use crate::domain::clock;

/// Most bytes of one chunk.
const CHUNK: usize = 64 * 1024;

/// Bytes kept of the beginning of standard error, where a wrapper says why it did not do what it should.
const COMPLAINT: usize = 2048;

/// Both streams of a program, and the place what they bring is sent to.
pub(super) struct Capture {
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    buffer: Vec<u8>,
    /// Bytes read so far.
    read: u64,
    /// The beginning of standard error.
    complaint: Vec<u8>,
}

impl Capture {
    pub(super) fn new(stdout: Receiver, stderr: Receiver) -> Self {
        Self {
            stdout: Some(stdout),
            stderr: Some(stderr),
            buffer: vec![0; CHUNK],
            read: 0,
            complaint: Vec::new(),
        }
    }

    /// Waits for output and sends it to the place in `room`; without one it is let go. Never ends once
    /// both streams have.
    pub(super) async fn pass(&mut self, room: &mut Option<Permit<'_, Chunk>>) {
        loop {
            let stream = tokio::select! {
                () = readable(self.stdout.as_ref()) => Stream::Stdout,
                () = readable(self.stderr.as_ref()) => Stream::Stderr,
            };
            if let Some(chunk) = self.take(stream) {
                if let Some(room) = room.take() {
                    room.send(chunk);
                }
                return;
            }
        }
    }

    /// Sends on what the program left in the pipes. Nobody of its writes any more, so that an empty
    /// pipe is at its end, also when somebody else has it open. Answers how much was read in all, and with
    /// the beginning of standard error.
    pub(super) async fn drain(mut self, output: &Sender<Chunk>) -> (u64, String) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // Read past tokio, which does not look into a pipe it has not heard of yet.
            while let Some(Ok(length)) = self.pipe(stream).map(|(pipe, to)| rustix::io::read(pipe, to))
                && length > 0
            {
                // Nobody reads any more when the attempt is over.
                let _ = output.send(self.chunk(stream, length)).await;
            }
        }
        (self.read, String::from_utf8_lossy(&self.complaint).into_owned())
    }

    /// What a stream has now; it is closed when it is at its end.
    fn take(&mut self, stream: Stream) -> Option<Chunk> {
        let (pipe, to) = self.pipe(stream)?;
        match pipe.try_read(to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(length) if length > 0 => Some(self.chunk(stream, length)),
            Ok(_) | Err(_) => {
                match stream {
                    Stream::Stdout => self.stdout = None,
                    Stream::Stderr => self.stderr = None,
                }
                None
            }
        }
    }

    fn pipe(&mut self, stream: Stream) -> Option<(&Receiver, &mut [u8])> {
        let pipe = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        Some((pipe.as_ref()?, &mut self.buffer))
    }

    fn chunk(&mut self, stream: Stream, length: usize) -> Chunk {
        self.read += length as u64;
        if stream == Stream::Stderr {
            let room = COMPLAINT.saturating_sub(self.complaint.len());
            self.complaint.extend_from_slice(&self.buffer[..length.min(room)]);
        }
        Chunk {
            stream,
            at: clock::now(),
            bytes: Bytes::copy_from_slice(&self.buffer[..length]),
        }
    }
}

async fn readable(stream: Option<&Receiver>) {
    match stream {
        // An error is found when it is read.
        Some(stream) => drop(stream.readable().await),
        None => std::future::pending().await,
    }
}
