//! The processes below a keeper, and how all of them hear a signal.
//!
//! A keeper is a subreaper: whatever is below it and loses its parent, by a double fork or because we
//! killed the parent, becomes the keeper's own child, in whatever session or group it is. So ending the
//! own children until there are none ends everything.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends `signal` to every process below this one but those that `spared` names.
pub(super) fn signal_all(signal: Signal, spared: &[Pid]) {
    let me = Pid::this();
    let mut parents = vec![me];
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            if !spared.contains(&child) {
                match parent == me {
                    // Nobody else can have taken its number: we have not reaped it.
                    true => drop(kill(child, signal)),
                    false => signal_child_of(parent, child, signal),
                }
            }
            parents.push(child);
        }
    }
}

/// The children of a process.
pub(super) fn children(of: Pid) -> Vec<Pid> {
    listed(of).unwrap_or_else(|| found(of))
}

/// What the kernel lists, if it is built to; `None` when it is not, or when the process is gone.
fn listed(of: Pid) -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    // A list a thread: a child belongs to the thread that made it.
    for thread in std::fs::read_dir(format!("/proc/{of}/task")).ok()? {
        let list = std::fs::read_to_string(thread.ok()?.path().join("children")).ok()?;
        children.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw),
        );
    }
    Some(children)
}

/// What a look at every process finds.
fn found(of: Pid) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| parent(*pid) == Some(of))
        .collect()
}

/// Whether a process was stopped, by a signal or by a debugger.
pub(super) fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat.as_ref().ok().and_then(|stat| stat.rsplit_once(')'));
    state.is_some_and(|(_, state)| state.starts_with(" T") || state.starts_with(" t"))
}

/// The parent of a process: the second field after its name, which may hold anything.
fn parent(of: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let parent = after.split_whitespace().nth(1)?.parse().ok()?;
    Some(Pid::from_raw(parent))
}

/// Its number may be another's by now; a handle that was the right one when it was taken stays so.
#[cfg(target_os = "linux")]
fn signal_child_of(expected: Pid, child: Pid, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let handle = rustix::process::Pid::from_raw(child.as_raw())
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let number = rustix::process::Signal::from_named_raw(signal as i32);
    if let (Some(handle), Some(number)) = (handle, number)
        && parent(child) == Some(expected)
    {
        // It fails when the process is gone, which is what was wanted.
        let _ = pidfd_send_signal(handle, number);
    }
}

#[cfg(not(target_os = "linux"))]
fn signal_child_of(_: Pid, child: Pid, signal: Signal) {
    let _ = kill(child, signal);
}
