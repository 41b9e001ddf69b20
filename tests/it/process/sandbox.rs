//! Attacks on the sandbox, from within, by a step of a real runner.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::confinement::HOG;
use super::runner::Ground;
use super::workspace::shell;
use super::{eventually, mark, marked};
use crate::support::until;

/// A shell step's argv.
pub(super) fn sh<'a>(script: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["sh", "-c", script, "sh"], arguments].concat()
}

/// What a step prints that must succeed.
pub(super) async fn says(ground: &Ground, script: &str, arguments: &[&str]) -> String {
    let job = ground.submit(&sh(script, arguments)).await;
    let end = ground.end(job).await;
    let said = ground.log(job, "stdout").await;
    assert_eq!(
        end,
        "succeeded",
        "{script}: {said} {}",
        ground.log(job, "stderr").await
    );
    said
}

/// A secret in a file, readable by everybody on the host.
fn secret(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "s3cret\n").unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
}

#[tokio::test]
async fn a_step_sees_the_system_and_its_own_workspace_and_nothing_else() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let other = ground.directory.join("workspaces/other/work/secret");
    secret(&other);
    let env_file = ground.directory.join("orchestrator.env");
    secret(&env_file);
    let script = r#"
        cat "$1" "$2" 2>/dev/null && exit 1
        ls "$3" "$4" /root /home /etc/shadow /var/lib 2>/dev/null
        ls -d /proc/[0-9]* | wc -l
        pwd; echo "$HOME"
        touch file && ls
        ls -A /tmp /root /home /run 2>/dev/null | grep -v "^/" | tr -d '\n'
        touch /tmp/mine"#;
    let workspaces = ground.directory.join("workspaces");
    let (other, env_file, root, all) = (
        other.to_str().unwrap(),
        env_file.to_str().unwrap(),
        ground.directory.to_str().unwrap(),
        workspaces.to_str().unwrap(),
    );
    let job = ground
        .submit(&sh(
            script,
            &[
                other,
                env_file,
                &format!("{root}/socket"),
                &format!("{all}/other"),
            ],
        ))
        .await;
    assert_eq!(
        ground.end(job).await,
        "succeeded",
        "{}",
        ground.log(job, "stderr").await
    );
    let said = ground.log(job, "stdout").await;
    let lines: Vec<&str> = said.lines().collect();
    let here = format!("{all}/{job}/work");
    let processes: u32 = lines[0].parse().unwrap();
    assert!(processes <= 5, "{said}");
    assert_eq!(lines[1..4], [here.as_str(), here.as_str(), "file"], "{said}");
    // Nothing is in the private places but the way to the workspace.
    let way = Path::new(root).strip_prefix("/tmp").ok();
    let way = way
        .and_then(|way| way.iter().next()?.to_str())
        .unwrap_or_default();
    assert_eq!(lines.get(4).copied().unwrap_or_default(), way, "{said}");
    assert!(!Path::new("/tmp/mine").exists());
    assert!(workspaces.join(format!("{job}/work/file")).exists());
}

#[tokio::test]
async fn the_system_cannot_be_changed() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let script = r#"
        for place in / /usr /usr/bin /etc /etc/ssl /proc/sys/kernel /opt /var /home; do
            touch "$place/planted" 2>/dev/null && echo "$place"
        done
        echo x > /etc/passwd && echo passwd
        mount -t tmpfs tmpfs /mnt && echo mount
        mount -o remount,rw / && echo remount
        unshare --user --map-root-user true && echo userns
        unshare --mount true && echo mountns
        chroot . true && echo chroot
        true"#;
    assert_eq!(says(&ground, script, &[]).await, "null");
}

#[tokio::test]
async fn there_is_no_privilege_to_be_had() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let script = r#"
        grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t\n' '  '
        cp /bin/sh mine; chmod u+s mine && echo setuid; chmod 4755 mine && echo setuid; chmod g+s mine && echo setgid
        su -c true </dev/null && echo su
        ls /proc/self/fd | tr '\n' ' '
        true"#;
    let zeros = "0000000000000000";
    assert_eq!(
        says(&ground, script, &[]).await,
        format!(
            "CapInh: {zeros} CapPrm: {zeros} CapEff: {zeros} CapBnd: {zeros} CapAmb: {zeros} NoNewPrivs: 1 Seccomp: 2 0 1 2 3 "
        )
    );
}

#[tokio::test]
async fn without_a_network_there_is_only_a_loopback_of_the_steps_own() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let reach = r#"
        tail -n +3 /proc/net/dev | cut -d : -f 1 | tr -d ' '
        python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)' "$1" 2>/dev/null && echo reached
        true"#;
    assert_eq!(says(&ground, reach, &[&port]).await, "lo\n");
    // Abstract sockets belong to the network, and so to another one.
    let name = format!("orchestrator-{}", mark());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name)
            .unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let dial = r#"python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect("\0" + sys.argv[1])' "$1" 2>/dev/null && echo reached; true"#;
    assert_eq!(says(&ground, dial, &[&name]).await, "null");
}

#[tokio::test]
async fn a_network_is_the_hosts_to_give_and_the_jobs_to_renounce() {
    let Some(allowing) = Ground::sandboxed(&[("NETWORK_POLICY", "allow")]).await else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let reach = r#"python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)' "$1""#;
    let argv = sh(reach, &[&port]);
    let job = allowing.submit(&argv).await;
    assert_eq!(allowing.end(job).await, "succeeded");
    let job = allowing.submit_with(&argv, &json!({ "network": "deny" })).await;
    assert_eq!(allowing.end(job).await, "failed exit_nonzero");

    let Some(denying) = Ground::sandboxed(&[]).await else {
        return;
    };
    let job = denying.submit_with(&argv, &json!({ "network": "allow" })).await;
    assert_eq!(denying.end(job).await, "failed policy");
    let job = denying.submit_with(&["true"], &json!({ "sandbox": false })).await;
    assert_eq!(denying.end(job).await, "failed policy");
}

#[tokio::test]
async fn the_runner_and_the_database_are_out_of_reach() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let socket = ground.socket_directory();
    let script = r#"
        kill -0 "$1" 2>/dev/null && echo runner
        kill -TERM -1; kill -KILL "$PPID" 2>/dev/null
        cat "/proc/$1/environ" 2>/dev/null && echo environ
        ls "$2" 2>/dev/null && echo socket
        grep -z DATABASE_URL /proc/*/environ && echo url
        true"#;
    let pid = ground.runner.pid().to_string();
    assert_eq!(says(&ground, script, &[&pid, &socket]).await, "null");
    assert_eq!(says(&ground, "echo still here", &[]).await, "still here\n");
}

#[tokio::test]
async fn links_lead_nowhere_but_into_the_sandbox() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let outside = ground.directory.join("outside");
    secret(&outside);
    let script = r#"
        ln -s "$1" symbolic && cat symbolic 2>/dev/null && echo symbolic
        ln "$1" hard 2>/dev/null && echo hard
        cat ../../../outside 2>/dev/null && echo dots
        ln /etc/passwd passwd 2>/dev/null && echo passwd
        ls ../.. | wc -l
        true"#;
    // Of all workspaces it sees the names on the way to its own.
    assert_eq!(says(&ground, script, &[outside.to_str().unwrap()]).await, "1\n");
}

#[tokio::test]
async fn what_a_step_has_in_memory_is_bounded_and_gone_afterwards() {
    let Some(ground) = Ground::sandboxed(&[("SANDBOX_TMP_MB", "10")]).await else {
        return;
    };
    for place in ["/tmp", "/run", "/dev/shm"] {
        let fill = format!(
            "head -c 20000000 /dev/zero > {place}/full 2>/dev/null && echo filled; stat -c %s {place}/full"
        );
        let said = says(&ground, &fill, &[]).await;
        let size: u64 = said.trim().parse().unwrap();
        assert!((1_000_000..=10_100_000).contains(&size), "{place}: {size}");
        let look = format!("cat {place}/full 2>/dev/null; true");
        assert_eq!(says(&ground, &look, &[]).await, "null", "{place}");
    }
    let elsewhere = "true 2>/dev/null > /dev/elsewhere && echo written; true > /dev/null && echo there";
    assert_eq!(says(&ground, elsewhere, &[]).await, "there\n");
}

#[tokio::test]
async fn a_step_in_a_sandbox_is_told_to_end_has_its_grace_and_leaves_nothing() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let mark = mark();
    let script = r#"
        ( setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; done' sh "$1" & ) &
        trap 'echo farewell; exit 0' TERM
        echo ready; while :; do sleep 0.05; done"#;
    let job = ground.submit(&sh(script, &[&mark])).await;
    until(async || ground.log(job, "stdout").await.contains("ready").then_some(())).await;
    crate::support::tell(
        &ground.pool,
        &format!("update job set cancel_asked_at = now() where id = '{job}'"),
    )
    .await;
    assert_eq!(ground.end(job).await, "cancelled cancelled");
    assert_eq!(ground.log(job, "stdout").await, "ready\nfarewell\n");
    eventually("the daemon ends", || marked(&mark).is_empty());
}

#[tokio::test]
async fn a_fork_bomb_and_a_memory_hog_are_over_when_the_step_is() {
    let Some(ground) = Ground::sandboxed(&[("STEP_PIDS", "64")]).await else {
        return;
    };
    let mark = mark();
    let bomb = r#"storm() { storm "$@" | storm "$@" & }; storm "$@"; sleep 1"#;
    let policy = json!({ "limits": { "memory_mb": 64, "pids": 32 } });
    let job = ground.submit_with(&sh(bomb, &[&mark]), &policy).await;
    ground.end(job).await;
    eventually("the bomb is over", || marked(&mark).is_empty());
    let job = ground.submit_with(&sh(HOG, &[]), &policy).await;
    let end = ground.end(job).await;
    // By its group where there is one, and by what a process may hold elsewhere.
    assert!(
        matches!(end.as_str(), "failed out_of_memory" | "failed exit_nonzero"),
        "{end}"
    );
    assert_eq!(says(&ground, "echo still here", &[]).await, "still here\n");
}

#[tokio::test]
async fn endings_are_told_apart_within_a_sandbox_too() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let cases: [(&[&str], &str); 6] = [
        (&["sh", "-c", "exit 255"], "failed exit_nonzero"),
        (&["sh", "-c", "kill -SEGV $$"], "failed signalled"),
        (&["no-such-program"], "failed spawn"),
        (&["/etc/passwd"], "failed spawn"),
        (&["sh", "-c", "exit 1"], "failed exit_nonzero"),
        (
            &[
                "sh",
                "-c",
                "echo bwrap: execvp x: No such file or directory >&2; exit 1",
            ],
            "failed exit_nonzero",
        ),
    ];
    for (argv, end) in cases {
        let job = ground.submit(argv).await;
        assert_eq!(ground.end(job).await, end, "{argv:?}");
    }
}

#[tokio::test]
async fn a_library_named_by_the_step_is_not_loaded_into_the_wrapper() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let steps = json!([{ "step_id": "s", "argv": ["sh", "-c", "echo $LD_LIBRARY_PATH"],
                         "env": { "LD_LIBRARY_PATH": "/nowhere", "BWRAP": "--x" } }]);
    let job = ground.submit_steps(&steps, &json!({})).await;
    assert_eq!(ground.end(job).await, "succeeded");
    assert_eq!(ground.log(job, "stdout").await, "/nowhere\n");
}

#[tokio::test]
async fn another_jobs_workspace_artifacts_and_repository_are_not_there() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground.project("git init -q . && echo one > file && git add -A && git commit -qm first");
    let other = ground
        .submit(&sh("echo s3cret > private; chmod 777 . private", &[]))
        .await;
    assert_eq!(ground.end(other).await, "succeeded");
    let workspaces = ground.directory.join("workspaces");
    let artifacts = ground.directory.join("artifacts");
    shell(
        &ground.directory,
        "chmod -R a+rX artifacts workspaces; chmod a+rx workspaces/*",
    );
    let script = r#"
        ls "$1/$2" "$1/$2/work" "$1/$2/base" "$3" "$3/$2" 2>/dev/null
        cat "$1/$2/work/private" "$3/$2/patch.diff" 2>/dev/null
        cat "../../$2/work/private" /proc/*/root"$1/$2/work/private" /proc/*/cwd/../../$2/work/private 2>/dev/null
        ls "$1" | grep -v -x -F "$4"
        touch ../planted ../base/planted "$1/planted" 2>/dev/null && echo planted
        touch ../base/hooks/post-checkout ../base/config 2>/dev/null && echo hook
        true"#;
    let (all, kept) = (workspaces.to_str().unwrap(), artifacts.to_str().unwrap());
    let own = r#"sh -c "$1" sh "$2" "$3" "$4" "$(basename "$(dirname "$PWD")")""#;
    let id = other.to_string();
    assert_eq!(says(&ground, own, &[script, all, &id, kept]).await, "null");
}

#[tokio::test]
async fn calls_that_an_escape_needs_and_a_build_does_not_are_refused() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("not tried: the numbers of the calls are those of x86-64");
        return;
    }
    let script = r#"
import ctypes, errno
calls = dict(acct=163, add_key=248, bpf=321, chroot=161, clock_settime=227, delete_module=176, fsopen=430, init_module=175,
             finit_module=313, io_uring_setup=425, kexec_load=246, keyctl=250, mount=165, move_mount=429, open_by_handle_at=304,
             open_tree=428, perf_event_open=298, pivot_root=155, quotactl=179, reboot=169, request_key=249, setns=308,
             swapon=167, syslog=103, umount2=166, unshare=272, userfaultfd=323, kcmp=312)
libc = ctypes.CDLL(None, use_errno=True)
for name, number in sorted(calls.items()):
    arguments = [0x10000000] + [0] * 5 if name == "unshare" else [0] * 6
    done = libc.syscall(number, *arguments)
    if done != -1 or ctypes.get_errno() != errno.EPERM:
        print(name, done, errno.errorcode.get(ctypes.get_errno()))
# The same under their other numbers, as processes of 32 bits call them, ends the caller or is refused.
if libc.syscall(0x40000000 + 165, 0, 0, 0, 0, 0) != -1:
    print("x32")
# New namespaces, also by way of clone.
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000):
    done = libc.syscall(56, flag | 17, 0, 0, 0, 0)
    if done == 0:
        libc._exit(0)
    if done > 0:
        print("clone", hex(flag))
# A setuid bit is nobody's.
import os
open("mine", "w").close()
for bits in (0o4755, 0o2755):
    try:
        os.chmod("mine", bits)
        print("chmod", oct(bits))
    except PermissionError:
        pass
# Nor that of a file that is made with it; without it files are made as ever.
CREAT, REGULAR = 0o100 | 0o1, 0o100000
for bits in (0o4755, 0o2755, 0o755):
    for name, number, *arguments in (
        ("open", 2, b"made", CREAT, bits),
        ("openat", 257, -100, b"made", CREAT, bits),
        ("tmpfile", 257, -100, b".", 0o20200002, bits),
        ("creat", 85, b"made", bits),
        ("mknod", 133, b"made", REGULAR | bits, 0),
        ("mknodat", 259, -100, b"made", REGULAR | bits, 0),
    ):
        done = libc.syscall(number, *arguments)
        if (done >= 0) != (bits == 0o755):
            print(name, oct(bits), done, errno.errorcode.get(ctypes.get_errno()))
        if os.path.exists("made"):
            os.remove("made")
# What hides the mode in memory is not there, as in older kernels.
if libc.syscall(437, -100, b".", 0, 24) != -1 or ctypes.get_errno() != errno.ENOSYS:
    print("openat2")
# Where nothing is made the mode is whatever was left in its place.
os.close(libc.syscall(257, -100, b".", 0, 0o4755))
"#;
    let job = ground.submit(&["python3", "-c", script]).await;
    let (end, said) = (ground.end(job).await, ground.log(job, "stdout").await);
    assert_eq!(
        (end.as_str(), said.as_str()),
        ("succeeded", "null"),
        "{}",
        ground.log(job, "stderr").await
    );
}
