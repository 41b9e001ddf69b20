//! What a program finds itself in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use orchestrator::runner::process::{Command, End, Limits, Supervisor};

use super::{NEVER, command, run, run_until, shell, supervisor};
use crate::support;

#[tokio::test]
async fn a_program_has_its_three_streams_and_no_other_descriptor() {
    // Inherited by whatever this process starts, as a careless parent's would be.
    let _leak = rustix::io::dup(std::fs::File::open("/etc/passwd").unwrap()).unwrap();
    let supervisor = supervisor();
    for _ in 0..3 {
        let (_, printed) = run_until(&supervisor, command(&["ls", "/proc/self/fd"]), NEVER).await;
        // The fourth is the list's own.
        assert_eq!(printed.text(), "0\n1\n2\n3\n");
    }
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_later_entries_win() {
    let mut step = command(&["env"]);
    step.env = vec![
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("WORD".into(), "first".into()),
        ("WORD".into(), "a=b\nc".into()),
    ];
    let (_, printed) = run(step).await;
    assert_eq!(printed.text(), "PATH=/usr/bin:/bin\nWORD=a=b\nc\n");
}

#[tokio::test]
async fn a_program_leads_a_session_and_yields_to_the_services() {
    let supervisor = supervisor();
    let step = shell(
        "cat /proc/self/oom_score_adj; nice; umask; cut -d ' ' -f 41 /proc/$$/stat; cut -d ' ' -f 1,5,6 /proc/$$/stat",
        &[],
    );
    let (_, printed) = run_until(&supervisor, step.clone(), NEVER).await;
    let said = printed.text();
    let lines: Vec<&str> = said.lines().collect();
    // Where a control group has its weight, its own may be next to nothing.
    let policy = match group(&supervisor, "cpu").await {
        Some(_) => nix::libc::SCHED_IDLE,
        None => nix::libc::SCHED_BATCH,
    };
    assert_eq!(lines[..4], ["500", "10", "0022", policy.to_string().as_str()]);
    let numbers: Vec<&str> = lines[4].split(' ').collect();
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "process, group, session: {numbers:?}"
    );
    let equal = Command { nice: 0, ..step };
    let (_, printed) = run_until(&supervisor, equal, NEVER).await;
    let said = printed.text();
    let other = nix::libc::SCHED_OTHER.to_string();
    assert_eq!(
        said.lines().collect::<Vec<_>>()[1..4],
        ["0", "0022", other.as_str()]
    );
}

#[tokio::test]
async fn a_program_has_no_privilege_no_group_and_every_signal() {
    let (_, printed) = run(command(&["cat", "/proc/self/status"])).await;
    let status = printed.text();
    let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(":\t")).collect();
    assert_eq!(fields["NoNewPrivs"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn"] {
        // The C library keeps 32 and 33 to itself.
        let set_of = u64::from_str_radix(fields[set], 16).unwrap() & !(3 << 31);
        assert_eq!(set_of, 0, "{set}");
    }
    if let Some(user) = command(&[]).credentials {
        assert_eq!(fields["Groups"].trim(), "");
        assert_eq!(fields["Uid"], format!("{0}\t{0}\t{0}\t{0}", user.uid));
        assert_eq!(fields["Gid"], format!("{0}\t{0}\t{0}\t{0}", user.gid));
    }
}

/// A program that takes half a gigabyte for itself.
pub(super) const HOG: &str =
    r#"exec awk 'BEGIN { all = "x"; while (length(all) < 500000000) all = all all; print length(all) }'"#;

async fn within(limits: Limits, script: &str) -> (End, String) {
    let mut step = shell(script, &[]);
    step.directory = "/tmp".into();
    step.limits = limits;
    let (outcome, printed) = run(step).await;
    (outcome.unwrap().end, printed.text())
}

#[tokio::test]
async fn limits_bind() {
    let none = Limits::default();
    let (_, printed) = within(none, "ulimit -c; ulimit -H -c").await;
    assert_eq!(printed, "0\n0\n");

    let memory = Limits {
        memory_bytes: Some(100_000_000),
        ..none
    };
    let mut hungry = shell(HOG, &[]);
    hungry.limits = memory;
    let outcome = run(hungry).await.0.unwrap();
    match group(&supervisor(), "memory").await {
        Some(_) => assert_eq!((outcome.end, outcome.oom_kills), (End::OutOfMemory, 1)),
        None => assert_eq!(outcome.end, End::Exited(2), "it says that it is out of memory"),
    }

    let cpu = Limits {
        cpu_seconds: Some(1),
        ..none
    };
    let (end, _) = within(cpu, "while :; do :; done").await;
    assert!(matches!(end, End::Signalled(9 | 24)), "{end:?}");

    let directory = support::scratch();
    std::os::unix::fs::chown(&directory, command(&[]).credentials.map(|user| user.uid), None).unwrap();
    let file = Limits {
        file_bytes: Some(1_000_000),
        ..none
    };
    let script = format!("exec head -c 2000000 /dev/zero > {}/large", directory.display());
    assert_eq!(within(file, &script).await.0, End::Signalled(25));
    assert_eq!(
        std::fs::metadata(directory.join("large")).unwrap().len(),
        1_000_000
    );
}

/// The control group that holds `controller` for steps of this supervisor, on this host, if there is one.
async fn group(supervisor: &Supervisor, controller: &str) -> Option<PathBuf> {
    let (_, printed) = run_until(supervisor, command(&["cat", "/proc/self/cgroup"]), NEVER).await;
    printed.text().lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(":/")?;
        let hierarchy = match names {
            "" => "",
            names => names.split(',').find(|name| *name == controller)?,
        };
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(path);
        path.contains("orchestrator-").then_some(group)
    })
}

#[tokio::test]
async fn what_a_step_leaves_in_memory_is_no_burden_of_the_next() {
    let supervisor = supervisor();
    let Some(directory) = Some(Path::new("/dev/shm")).filter(|shared| shared.is_dir()) else {
        return;
    };
    let left = tempfile::tempdir_in(directory).unwrap();
    std::os::unix::fs::chown(&left, command(&[]).credentials.map(|user| user.uid), None).unwrap();
    let script = format!("head -c 60000000 /dev/zero > {}/left", left.path().display());
    let (outcome, _) = run_until(&supervisor, shell(&script, &[]), NEVER).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    // As long as it is there, and it is.
    let mut next = shell("exit 5", &[]);
    next.limits.memory_bytes = Some(30_000_000);
    let (outcome, _) = run_until(&supervisor, next, NEVER).await;
    assert_eq!(outcome.unwrap().end, End::Exited(5));
}

#[tokio::test]
async fn control_groups_hold_a_step_and_go_with_their_supervisor() {
    let supervisor = supervisor();
    let mut step = command(&["cat", "/proc/self/cgroup"]);
    step.limits.processes = Some(20);
    let (outcome, printed) = run_until(&supervisor, step, NEVER).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    let said = printed.text();
    let Some((_, name)) = said.split_once("/orchestrator-") else {
        // A host, or a user, without groups to write.
        return;
    };
    let name = format!("orchestrator-{}", name.lines().next().unwrap());
    let mut storm = shell(
        "i=0; while [ $i -lt 100 ]; do sleep 1 & i=$((i+1)); done 2>/dev/null; echo all",
        &[],
    );
    storm.limits.processes = Some(20);
    let (_, printed) = run_until(&supervisor, storm, NEVER).await;
    assert_eq!(printed.text(), "", "the shell ends when it cannot fork");
    drop(supervisor);
    super::eventually("the groups are deleted", || gone(&name));
}

/// Whether there is no group of this name.
pub(super) fn gone(name: &str) -> bool {
    ["memory", "pids", "cpu", ""]
        .iter()
        .all(|hierarchy| find(&Path::new("/sys/fs/cgroup").join(hierarchy), name).is_none())
}

/// A directory of this name, some levels below.
fn find(below: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(below).ok()?.flatten();
    let mut directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.find_map(|path| match path.file_name().is_some_and(|found| found == name) {
        true => Some(path),
        false => find(&path, name),
    })
}

#[tokio::test]
async fn a_keeper_keeps_nothing_of_the_steps_it_has_had() {
    let supervisor = supervisor();
    let mut step = shell("grep VmData /proc/$PPID/status", &[]);
    step.env
        .extend((0..8).map(|number| (format!("LARGE_{number}"), "x".repeat(100_000))));
    let mut kilobytes = Vec::new();
    for _ in 0..40 {
        let (_, printed) = run_until(&supervisor, step.clone(), NEVER).await;
        let said = printed.text();
        let number = said.split_whitespace().nth(1).unwrap_or_else(|| panic!("{said}"));
        kilobytes.push(number.parse::<u64>().unwrap());
    }
    let (early, late) = (kilobytes[9], kilobytes[39]);
    assert!(late < early + 2000, "{kilobytes:?}");
}
