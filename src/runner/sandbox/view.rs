//! What a step sees: bubblewrap's arguments.

use std::path::Path;

use super::{Access, Settings};
use crate::domain::policy::Network;

/// Directories at the root that hold the system. On most hosts all but the first are links into it.
const SYSTEM: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
];
/// What programs need of `/etc`, by the beginning of its name. The rest is no business of a step: it is
/// where services keep their passwords.
const ETC: [&str; 33] = [
    "alternatives",
    "bash.bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "debian_version",
    "fonts",
    "gai.conf",
    "gitconfig",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "inputrc",
    "java",
    "ld.so.",
    "locale",
    "localtime",
    "login.defs",
    "magic",
    "maven",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki",
    "profile",
    "protocols",
    "python",
    "resolv.conf",
    "services",
    "ssl",
    "terminfo",
];
/// Of those, what is none of a step's business all the same.
const NOT_ETC: [&str; 3] = ["passwd-", "group-", "ssl/private"];

/// Namespaces and privileges. The session is the step's own already; another would have the weight of one
/// that yields to nobody.
pub(super) fn namespaces(network: Network, userns: bool) -> Vec<String> {
    let mut arguments = vec![
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--hostname",
        "sandbox",
        "--clearenv",
    ];
    if !userns {
        arguments.push("--disable-userns");
    }
    if network == Network::Allow {
        arguments.push("--share-net");
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// The host's programs, for reading, and private places for everything else.
pub(super) fn system(settings: &Settings) -> Result<Vec<String>, String> {
    let mut view = View::default();
    for directory in SYSTEM.map(Path::new) {
        match std::fs::read_link(directory) {
            Ok(target) => view.add(&["--symlink", text(&target)?, text(directory)?]),
            Err(_) if directory.is_dir() => view.add(&["--ro-bind", text(directory)?, text(directory)?]),
            Err(_) => {}
        }
    }
    for path in etc() {
        view.add(&["--ro-bind-try", &path, &path]);
    }
    for hidden in NOT_ETC.iter().filter(|hidden| hidden.contains('/')) {
        let path = format!("/etc/{hidden}");
        if Path::new(&path).is_dir() {
            view.add(&["--tmpfs", &path]);
        }
    }
    // What is in memory is bounded, or would be by half of the host's; where a step has no control group, nothing else
    // counts it.
    let size = settings.tmp_bytes.to_string();
    view.add(&["--proc", "/proc", "--dev", "/dev"]);
    view.add(&["--perms", "1777", "--size", &size, "--tmpfs", "/dev/shm"]);
    view.add(&["--remount-ro", "/dev", "--size", &size, "--tmpfs", "/run"]);
    view.add(&["--perms", "1777", "--size", &size, "--tmpfs", "/tmp"]);
    view.add(&[
        "--dir",
        "/var",
        "--symlink",
        "/tmp",
        "/var/tmp",
        "--symlink",
        "/run",
        "/var/run",
    ]);
    for path in &settings.readable {
        view.add(&["--ro-bind", text(path)?, text(path)?]);
    }
    Ok(view.0)
}

/// The workspace, to write in, where the host has it, and the root closed.
pub(super) fn workspace(workspace: &Path, access: Access) -> Result<Vec<String>, String> {
    let workspace = text(workspace)?;
    let mut view = View::default();
    match workspace {
        // What is tried out has no workspace.
        "/usr" => {}
        _ => {
            // Objects of its repository, which its own refers to.
            let base = format!("{}/base", workspace.strip_suffix("/work").unwrap_or(workspace));
            let bind = match access {
                Access::Reads => "--ro-bind",
                Access::Writes => "--bind",
            };
            view.add(&["--ro-bind-try", &base, &base, bind, workspace, workspace]);
        }
    }
    view.add(&["--remount-ro", "/", "--chdir", workspace]);
    Ok(view.0)
}

/// A directory to work in and one to read.
pub(super) fn room(writable: &Path, readable: Option<&Path>) -> Result<Vec<String>, String> {
    let writable = text(writable)?;
    let mut view = View::default();
    if let Some(readable) = readable {
        let readable = text(readable)?;
        view.add(&["--ro-bind", readable, readable]);
    }
    view.add(&[
        "--bind",
        writable,
        writable,
        "--remount-ro",
        "/",
        "--chdir",
        writable,
    ]);
    Ok(view.0)
}

#[derive(Default)]
struct View(Vec<String>);

impl View {
    fn add(&mut self, arguments: &[&str]) {
        self.0
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }
}

fn etc() -> Vec<String> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut paths: Vec<String> = names
        .filter(|name| ETC.iter().any(|start| name.starts_with(start)))
        .filter(|name| !NOT_ETC.contains(&name.as_str()))
        .map(|name| format!("/etc/{name}"))
        .collect();
    paths.sort();
    paths
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| {
        format!(
            "the path {} is not UTF-8, which a sandbox cannot be told",
            path.display()
        )
    })
}
