//! Whom steps run as.

use serde::{Deserialize, Serialize};

/// A user to run as, with no group but its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Credentials {
    /// The user `name`, when this process runs as root; `None` when it does not, and steps run as
    /// whoever runs it.
    ///
    /// # Errors
    ///
    /// When the user does not exist, or is root.
    pub fn for_steps(name: &str) -> Result<Option<Self>, NoSuchUser> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        match nix::unistd::User::from_name(name) {
            Ok(Some(user)) if !user.uid.is_root() => Ok(Some(Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })),
            _ => Err(NoSuchUser(name.to_owned())),
        }
    }
}

/// Steps cannot run as this user.
#[derive(Debug, thiserror::Error)]
#[error("STEP_USER: {0:?} is no ordinary user of this host; steps never run as root: name one that exists")]
pub struct NoSuchUser(String);
