//! The bytes of artifacts: files below a directory, or objects in a bucket of any server that speaks S3.
//!
//! A write is whole or not there. What is read from a directory is reached through no symbolic link.

mod writer;

use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use tokio_util::io::ReaderStream;

pub use writer::{Writer, Written};

/// Bytes from which an object is sent in parts.
pub const PART: usize = 8 * 1024 * 1024;
/// Bytes that are read and hashed at once.
const PIECE: usize = 64 * 1024;

/// Where artifacts are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    place: Place,
    holder: Holder,
}

/// Whether whoever writes still holds the place it writes to.
#[derive(Clone)]
struct Holder(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Holder")
    }
}

impl Holder {
    fn check(&self) -> io::Result<()> {
        match self.0() {
            true => Ok(()),
            false => Err(io::Error::other(
                "the lease is over: what is there may be another's by now",
            )),
        }
    }
}

#[derive(Clone, Debug)]
enum Place {
    /// Below this, which is made when something is written.
    Directory(PathBuf, Arc<OnceLock<Arc<dyn ObjectStore>>>),
    Bucket(Arc<dyn ObjectStore>),
}

/// A bucket and who may write to it.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What every key begins with.
    pub prefix: String,
    /// Where the server is, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Who we are; `None` leaves it to the instance's own role.
    pub credentials: Option<Credentials>,
}

/// A key pair, with a token where it is a borrowed one.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub id: String,
    /// The secret half.
    pub secret: secrecy::SecretString,
    /// What goes with a pair that was lent for a time.
    pub token: Option<secrecy::SecretString>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An object that is being read.
pub struct Opened {
    /// The length of all of it in bytes.
    pub size: u64,
    /// Its bytes.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl Objects {
    /// Below a directory, which is made when something is written.
    #[must_use]
    pub fn directory(root: &Path) -> Self {
        Self::at(Place::Directory(root.to_owned(), Arc::default()))
    }

    fn at(place: Place) -> Self {
        let holder = Holder(Arc::new(|| true));
        Self { place, holder }
    }

    /// The same place for whoever may write to it as long as `holds`: it is asked at the last moment before something is
    /// put in its place or deleted, which is an error when it does not. A process that was frozen goes on as if
    /// nothing had happened, and what it began to write may be another's place by then.
    #[must_use]
    pub fn held(&self, holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            place: self.place.clone(),
            holder: Holder(Arc::new(holds)),
        }
    }

    /// Whether they are in a directory: one is written without the runtime.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.place, Place::Directory(..))
    }

    /// Makes sure that something can be written.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written.
    pub fn prepare(&self) -> io::Result<()> {
        self.store()?;
        match &self.place {
            Place::Directory(root, _) => {
                rustix::fs::access(root, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
            }
            Place::Bucket(_) => {}
        }
        Ok(())
    }

    /// Makes sure that there is somebody who answers, and lets us look: at the first object, if there is any.
    ///
    /// # Errors
    ///
    /// When there is no such bucket or directory, or it is not for us.
    pub async fn reach(&self) -> io::Result<()> {
        let store = self.store()?;
        let first = store.list(None).next().await;
        first.transpose().map(drop).map_err(io::Error::other)
    }

    fn store(&self) -> io::Result<Arc<dyn ObjectStore>> {
        let (root, made) = match &self.place {
            Place::Bucket(store) => return Ok(Arc::clone(store)),
            Place::Directory(root, made) => (root, made),
        };
        if let Some(store) = made.get() {
            return Ok(Arc::clone(store));
        }
        if !root.exists() {
            // The services' alone: it holds what may be in private projects.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(root)?;
        }
        let store = LocalFileSystem::new_with_prefix(root).map_err(io::Error::other)?;
        let store: Arc<dyn ObjectStore> = Arc::new(store.with_automatic_cleanup(true));
        Ok(Arc::clone(made.get_or_init(|| store)))
    }

    /// In a bucket.
    ///
    /// # Errors
    ///
    /// When what is said of it does not fit together.
    pub fn bucket(bucket: &Bucket) -> io::Result<Self> {
        use secrecy::ExposeSecret as _;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region);
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(Credentials { id, secret, token }) = &bucket.credentials {
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret.expose_secret());
            if let Some(token) = token {
                builder = builder.with_token(token.expose_secret());
            }
        }
        let store = builder.build().map_err(io::Error::other)?;
        Ok(Self::at(Place::Bucket(Arc::new(PrefixStore::new(
            store,
            bucket.prefix.as_str(),
        )))))
    }

    /// Begins an object; it is there when [`Writer::finish`] says so, and what was there before stays until then.
    ///
    /// # Errors
    ///
    /// When the key leads elsewhere.
    pub fn create(&self, key: &str) -> io::Result<Writer> {
        let to = BufWriter::with_capacity(self.store()?, parsed(key)?, PART);
        Ok(Writer::new(to, self.holder.clone()))
    }

    /// Writes a whole object.
    ///
    /// # Errors
    ///
    /// When it could not be written; nothing is there then, or what was before.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> io::Result<Written> {
        let mut writer = self.create(key)?;
        match writer.write(bytes).await {
            Ok(()) => writer.finish().await,
            Err(error) => writer.give_up(error).await,
        }
    }

    /// Writes what is in a file, whatever its size, without holding it in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    pub async fn put_file(&self, key: &str, mut file: std::fs::File) -> io::Result<Written> {
        use std::io::Seek as _;
        use tokio::io::AsyncReadExt as _;
        file.rewind()?;
        let mut from = tokio::fs::File::from_std(file);
        let mut writer = self.create(key)?;
        let mut piece = vec![0; PIECE];
        loop {
            let copied = match from.read(&mut piece).await {
                Ok(0) => return writer.finish().await,
                Ok(count) => writer.write(&piece[..count]).await,
                Err(error) => Err(error),
            };
            if let Err(error) = copied {
                return writer.give_up(error).await;
            }
        }
    }

    /// Writes what is in another object.
    ///
    /// # Errors
    ///
    /// As [`Self::put`], and when the other is not there.
    pub async fn copy(&self, from: &str, to: &str) -> io::Result<Written> {
        let opened = self.open(from, None).await?;
        let mut bytes = opened.ok_or(io::ErrorKind::NotFound)?.bytes;
        let mut writer = self.create(to)?;
        while let Some(piece) = bytes.next().await {
            let copied = match piece {
                Ok(piece) => writer.write(&piece).await,
                Err(error) => Err(error),
            };
            if let Err(error) = copied {
                return writer.give_up(error).await;
            }
        }
        writer.finish().await
    }

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    ///
    /// When it could not be deleted.
    pub async fn delete(&self, key: &str) -> io::Result<()> {
        if self.is_not_there() {
            return Ok(());
        }
        self.holder.check()?;
        match self.store()?.delete(&parsed(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Opens an object, or the bytes of it in `range`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn open(&self, key: &str, range: Option<Range<u64>>) -> io::Result<Option<Opened>> {
        let key = parsed(key)?;
        if let Place::Directory(root, _) = &self.place {
            let (root, path) = (root.clone(), key.to_string());
            let opened = tokio::task::spawn_blocking(move || open_below(&root, Path::new(&path))).await?;
            return match opened {
                Ok(file) => Ok(Some(part_of(file, range).await?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        let options = GetOptions {
            range: range.map(Into::into),
            ..GetOptions::default()
        };
        match self.store()?.get_opts(&key, options).await {
            Ok(found) => Ok(Some(Opened {
                size: found.meta.size,
                bytes: found.into_stream().map_err(io::Error::other).boxed(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// A whole object of at most `most` bytes; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is larger.
    pub async fn read(&self, key: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(opened) = self.open(key, None).await? else {
            return Ok(None);
        };
        if opened.size > most {
            return Err(io::Error::other(format!("{key} is larger than {most} bytes")));
        }
        let parts: Vec<Bytes> = opened.bytes.try_collect().await?;
        Ok(Some(parts.concat()))
    }

    /// Deletes every object whose key begins with the directory `prefix`.
    ///
    /// # Errors
    ///
    /// When one could not be deleted; it may be tried again.
    pub async fn delete_all(&self, prefix: &str) -> io::Result<()> {
        if self.is_not_there() {
            return Ok(());
        }
        let prefix = parsed(prefix)?;
        let store = self.store()?;
        let keys = store.list(Some(&prefix)).map_ok(|found| found.location).boxed();
        let gone = store.delete_stream(keys);
        gone.try_for_each(async |_| Ok(()))
            .await
            .or_else(|error| match error {
                object_store::Error::NotFound { .. } => Ok(()),
                error => Err(io::Error::other(error)),
            })
    }
}

impl Objects {
    /// Nothing was ever written.
    fn is_not_there(&self) -> bool {
        matches!(&self.place, Place::Directory(root, _) if !root.exists())
    }
}

async fn part_of(file: std::fs::File, range: Option<Range<u64>>) -> io::Result<Opened> {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let size = file.metadata()?.len();
    let Range { start, end } = range.unwrap_or(0..size);
    let mut file = tokio::fs::File::from_std(file);
    file.seek(io::SeekFrom::Start(start)).await?;
    let bytes = ReaderStream::with_capacity(file.take(end.saturating_sub(start)), PIECE).boxed();
    Ok(Opened { size, bytes })
}

fn parsed(key: &str) -> io::Result<Key> {
    Key::parse(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Opens a plain file below `root`, through no link.
fn open_below(root: &Path, path: &Path) -> io::Result<std::fs::File> {
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(root.as_fd(), path, flags, Mode::empty(), within)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::other(format!("{} is no plain file", path.display()))),
    }
}

#[cfg(test)]
mod tests;
