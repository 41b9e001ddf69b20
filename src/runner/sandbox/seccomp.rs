//! What bubblewrap leaves open: system calls a build or an agent never needs and an escape does.
//!
//! A list of what is denied, as container engines keep one: steps run compilers, databases and browsers,
//! and a list of what is allowed would break the next of them. The sandbox does not rest on it.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Denied whatever they are asked.
const DENIED: &[i64] = &[
    // the kernel itself, and the host as a whole
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    // keys, which have no namespace
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // other views of the file system
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    // other namespaces, and other processes' memory and descriptors
    libc::SYS_kcmp,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// They hide their flags in memory; whoever calls them takes their absence for an older kernel, and `clone` or `openat`.
const HIDING: [u32; 2] = [libc::SYS_clone3 as u32, libc::SYS_openat2 as u32];
/// The first number of the second table of x86-64, in which everything has a second name.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// The modes by which a program lends its owner's rights.
const LENDING: [u64; 2] = [libc::S_ISUID as u64, libc::S_ISGID as u64];
/// The flags by which a file is made that was not there.
const MAKING: [u64; 2] = [
    libc::O_CREAT as u64,
    (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64,
];

/// The filter as the kernel takes it.
///
/// # Errors
///
/// On a processor it is not written for.
pub(super) fn filter() -> Result<Vec<u8>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("the seccomp filter could not be made: {error}");
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| wrong(&error))?;
    let rules = rules().map_err(|error| wrong(&error))?;
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture)
        .and_then(TryInto::try_into)
        .map_err(|error| wrong(&error))?;
    let bytes = preamble().into_iter().chain(program).flat_map(|instruction| {
        let sock_filter { code, jt, jf, k } = instruction;
        let [low, high] = code.to_ne_bytes();
        let [a, b, c, d] = k.to_ne_bytes();
        [low, high, jt, jf, a, b, c, d]
    });
    Ok(bytes.collect())
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let any_of = |argument, bits: u64| {
        let masked = SeccompCmpOp::MaskedEq(bits);
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, masked, bits)
    };
    let equal = |argument, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().map(|number| (*number, Vec::new())).collect();
    let new_user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![any_of(0, new_user)?])?],
    );
    // Typing into a terminal that is not the step's own.
    rules.insert(
        libc::SYS_ioctl,
        vec![equal(1, libc::TIOCSTI)?, equal(1, libc::TIOCLINUX)?],
    );
    // Programs that lend their owner's rights to whoever runs them on the host.
    let lends = |mode| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        LENDING
            .iter()
            .map(|bits| SeccompRule::new(vec![any_of(mode, *bits)?]))
            .collect()
    };
    // Where no file is made, the mode is whatever was left in its place.
    let makes = |flags, mode| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let both = LENDING
            .iter()
            .flat_map(|bits| MAKING.iter().map(|making| (*bits, *making)));
        both.map(|(bits, making)| SeccompRule::new(vec![any_of(flags, making)?, any_of(mode, bits)?]))
            .collect()
    };
    rules.insert(libc::SYS_fchmod, lends(1)?);
    rules.insert(libc::SYS_fchmodat, lends(2)?);
    rules.insert(libc::SYS_fchmodat2, lends(2)?);
    rules.insert(libc::SYS_mknodat, lends(2)?);
    rules.insert(libc::SYS_openat, makes(2, 3)?);
    #[cfg(target_arch = "x86_64")]
    {
        rules.insert(libc::SYS_chmod, lends(1)?);
        rules.insert(libc::SYS_creat, lends(1)?);
        rules.insert(libc::SYS_mknod, lends(1)?);
        rules.insert(libc::SYS_open, makes(1, 2)?);
    }
    Ok(rules)
}

/// Before the rules: `ENOSYS` for what they cannot look into.
fn preamble() -> Vec<sock_filter> {
    let enosys = sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
    };
    let jump = |how: u32, k: u32| sock_filter {
        code: (libc::BPF_JMP | how | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k,
    };
    let load_number = sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut instructions = vec![load_number];
    for hiding in HIDING {
        instructions.extend([jump(libc::BPF_JEQ, hiding), enosys.clone()]);
    }
    #[cfg(target_arch = "x86_64")]
    instructions.extend([jump(libc::BPF_JGE, X32), enosys]);
    instructions
}
