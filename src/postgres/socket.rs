//! Where the server's socket lies.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::{Error, during};

/// The name PostgreSQL gives its socket; the number is the port it does not listen on.
const NAME: &str = ".s.PGSQL.5432";
/// Longest path of a socket: `sun_path` has 108 bytes with the final zero on Linux, 104 on macOS.
const LONGEST: usize = 103;

/// The socket in its directory.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// A directory for the socket that only the server's user may enter: the cluster's own, or one
/// below `/tmp` when that has too long a name for a socket.
pub(super) fn directory(account: &Account, home: &Path) -> Result<PathBuf, Error> {
    if file(home).as_os_str().len() <= LONGEST {
        return Ok(home.to_owned());
    }
    let digest = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let short = PathBuf::from(format!("/tmp/orchestrator-{}-{name}", account.uid()));
    match fs::create_dir(&short) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => must_be_ours(account, &short)?,
        made => during(|| format!("cannot make {}", short.display()), made)?,
    }
    account.make_directory(&short)?;
    Ok(short)
}

/// Everybody may write to `/tmp`: what is there under our name may be somebody else's.
fn must_be_ours(account: &Account, directory: &Path) -> Result<(), Error> {
    let found = during(
        || format!("cannot look at {}", directory.display()),
        fs::symlink_metadata(directory),
    )?;
    let owners = [account.uid(), nix::unistd::Uid::effective().as_raw()];
    if found.is_dir() && owners.contains(&found.uid()) {
        return Ok(());
    }
    Err(Error::System(
        format!(
            "{} is somebody else's; delete it, or choose a shorter data directory",
            directory.display()
        ),
        std::io::ErrorKind::PermissionDenied.into(),
    ))
}
