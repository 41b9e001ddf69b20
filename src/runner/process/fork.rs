//! The system calls of this house that have no safe form: a second process, its turns, its end with what
//! it used, and signals as a program expects to find them.
//!
//! Only the supervisor and its keepers call them. These have one thread, so that a child finds no lock
//! held by a thread it does not have.

#![allow(
    unsafe_code,
    reason = "`fork`, `clone`, `execve` of what is made before, `wait4`, `sched_setattr` and `signal` have no safe form; the reasons stand beside them"
)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, Pid};

/// Bytes of stack for what happens between the new process and its program.
const STACK: usize = 256 * 1024;

/// Splits this process in two.
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the process has one thread, see above.
    unsafe { nix::unistd::fork() }
}

/// Makes processes that become programs, without a copy of this one's memory.
pub(super) struct Nursery(Vec<u8>);

impl Nursery {
    pub(super) fn new() -> Self {
        Self(vec![0; STACK])
    }

    /// Makes a process in which `become_program` runs, in this process's memory and while this process
    /// waits, until it executes a program or returns why it could not.
    ///
    /// It is what `posix_spawn` does, with our own steps in between: copying the memory of even a small
    /// process costs more than `/bin/true` takes. What it allocates and does not free stays allocated here.
    pub(super) fn spawn<E>(&mut self, become_program: impl FnOnce() -> E) -> nix::Result<Result<Pid, E>> {
        let mut failed = None;
        let mut become_program = Some(become_program);
        let child = Box::new(|| {
            failed = become_program.take().map(|become_program| become_program());
            1
        });
        // SAFETY: `CLONE_VFORK` holds this process until the other has let go of its memory, so that they
        // are never in it at the same time, and what `child` borrows is alive. It has a stack of its
        // own, and neither handlers nor descriptors in common with this one. It allocates in a heap
        // whose only other user waits.
        let pid = unsafe {
            clone(
                child,
                &mut self.0,
                CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK,
                Some(libc::SIGCHLD),
            )?
        };
        match failed {
            None => Ok(Ok(pid)),
            Some(error) => {
                let _ = nix::sys::wait::waitpid(pid, None);
                Ok(Err(error))
            }
        }
    }
}

/// Arguments or variables, as a program is given them.
pub(super) struct Words {
    /// To each of them, and nowhere at the end.
    pointers: Vec<*const libc::c_char>,
    _words: Vec<CString>,
}

impl Words {
    pub(super) fn new(words: Vec<CString>) -> Self {
        let pointers = words.iter().map(|word| word.as_ptr());
        Self {
            pointers: pointers.chain(std::iter::once(std::ptr::null())).collect(),
            _words: words,
        }
    }
}

/// Executes a file, and allocates nothing for it. Returns only when that failed: why.
pub(super) fn execute(file: &CStr, arguments: &Words, environment: &Words) -> Errno {
    // SAFETY: all of them end with a null, and what they point to is theirs, on the heap, and never changed.
    unsafe {
        libc::execve(
            file.as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    Errno::last()
}

/// A child that ended, and what it and those it waited for had used.
pub(super) struct Buried {
    pub(super) pid: Pid,
    pub(super) status: ExitStatus,
    pub(super) cpu: Duration,
    pub(super) peak_memory_kb: u64,
}

/// Buries a child that has ended; `None` when all that are left live, `ECHILD` when none is.
pub(super) fn bury() -> nix::Result<Option<Buried>> {
    let mut status = 0;
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right type that outlives the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, used.as_mut_ptr()) };
    if Errno::result(pid)? == 0 {
        return Ok(None);
    }
    // SAFETY: it is all integers, for which zeros are values too; the kernel has written over them.
    let used = unsafe { used.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.try_into().unwrap_or_default())
            + Duration::from_micros(time.tv_usec.try_into().unwrap_or_default())
    };
    Ok(Some(Buried {
        pid: Pid::from_raw(pid),
        status: ExitStatus::from_raw(status),
        cpu: time(used.ru_utime) + time(used.ru_stime),
        peak_memory_kb: used.ru_maxrss.try_into().unwrap_or_default(),
    }))
}

/// How the kernel schedules a step that is to yield to the services, see `sched(7)`.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// It interrupts nobody when it wakes up.
    Batch,
    /// Besides, a processor that runs nothing else counts as free for whoever wakes up. Its own weight is next to nothing,
    /// so this is for steps whose weight their control group has.
    Idle,
}

impl Policy {
    /// Has this process, and what it starts, scheduled so: as `nice` as that, and for `slice` at a time unless
    /// it is interrupted. That is from 0.1 to 100 ms, and heard since Linux 6.12; before, the kernel has one slice for all.
    pub(super) fn set(self, nice: i32, slice: Duration) -> nix::Result<()> {
        schedule(libc::SCHED_BATCH, nice, slice)?;
        match self {
            Self::Batch => Ok(()),
            // Its own request for a slice would not be heard; that of before is kept.
            Self::Idle => schedule(libc::SCHED_IDLE, nice, slice),
        }
    }
}

fn schedule(policy: libc::c_int, nice: i32, slice: Duration) -> nix::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: policy.unsigned_abs(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: slice.as_nanos().try_into().unwrap_or_default(),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as much of the attributes as their own first field says. It changes how this
    // process is scheduled, and nothing in its memory.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    Errno::result(answer).map(drop)
}

/// Every signal does what it does by default: whoever started us may have left some ignored, which a
/// program would inherit. `PIPE` stays ignored, as Rust wants it.
pub(super) fn forget_ignored_signals() {
    for number in (1..=64).filter(|number| *number != libc::SIGPIPE) {
        // SAFETY: the default action is no handler, so nothing of ours runs on a signal. Refused for those
        // that are not ours to set.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Signals as a program expects to find them: none ignored, none blocked.
pub(super) fn release_signals() -> nix::Result<()> {
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    SigSet::empty().thread_set_mask()
}
