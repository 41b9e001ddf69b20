//! An object on its way: hashed as it goes, in its place at the end.

use std::io;

use object_store::buffered::BufWriter;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::Holder;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// An object on its way.
pub struct Writer {
    to: BufWriter,
    holder: Holder,
    hash: Sha256,
    size: u64,
}

impl Writer {
    pub(super) fn new(to: BufWriter, holder: Holder) -> Self {
        Self {
            to,
            holder,
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// When they cannot be sent; [`Self::give_up`] is to follow.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.to.write_all(bytes).await
    }

    /// Puts the object in its place.
    ///
    /// # Errors
    ///
    /// When it could not be written, or is not to be any more; nothing is there then, or what was before.
    pub async fn finish(mut self) -> io::Result<Written> {
        if let Err(error) = self.holder.check() {
            return self.give_up(error).await;
        }
        // One whose end failed has taken back what it sent, and must not be told to: it would panic.
        self.to.shutdown().await?;
        Ok(Written {
            size: self.size,
            sha256: self.hash.finalize().into(),
        })
    }

    /// Takes back what was sent, because of `error`.
    ///
    /// # Errors
    ///
    /// That one, always.
    pub async fn give_up<T>(mut self, error: io::Error) -> io::Result<T> {
        if let Err(error) = self.to.abort().await {
            tracing::debug!(error = %error, "a part of an artifact stays where it is kept");
        }
        Err(error)
    }
}
