//! Room on the disk: what a step may fill, and where nothing is begun.

use super::runner::Ground;
use super::sandbox::{says, sh};
use crate::support::{ask, until};

/// A small file system in memory; `None` where this may not mount one, which is said.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let directory = crate::support::scratch().to_path_buf();
        std::fs::create_dir_all(&directory).unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"])
            .arg(&directory)
            .output();
        if !done.is_ok_and(|done| done.status.success()) {
            eprintln!("not tried: a file system can be mounted by root only");
            return None;
        }
        Some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_step_that_fills_the_disk_is_ended_before_it_is_full() {
    let Some(disk) = Disk::mount("64m") else {
        return;
    };
    let workspaces = disk.0.join("workspaces");
    let environment = [
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("WORKSPACES_MIN_FREE_MB", "20"),
        ("STEP_FILE_MB", "2"),
    ];
    let Some(ground) = Ground::sandboxed(&environment).await else {
        return;
    };
    let one = "head -c 5000000 /dev/zero > large; stat -c %s large";
    let size: u64 = says(&ground, one, &[]).await.trim().parse().unwrap();
    assert!(size <= 2_000_000, "{size}");
    // Quickly to where there is little left, and then so that whoever looks now and then has the time to.
    let fill = "n=0; while [ $n -lt 40 ]; do n=$((n + 1)); head -c 1000000 /dev/zero > f$n; done
                while :; do n=$((n + 1)); head -c 100000 /dev/zero > f$n; sleep 0.05; done";
    let job = ground.submit(&sh(fill, &[])).await;
    assert_eq!(ground.end(job).await, "failed output_limit");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(message.contains("WORKSPACES_MIN_FREE_MB"), "{message}");
    let room = rustix::fs::statvfs(&workspaces).unwrap();
    let free = room.f_bavail * room.f_frsize;
    assert!(free > 1_000_000, "the disk was filled: {free}");
    // What ended jobs left is deleted for it before its time.
    until(async || {
        let room = rustix::fs::statvfs(&workspaces).unwrap();
        (room.f_bavail * room.f_frsize > 50_000_000).then_some(())
    })
    .await;
    assert_eq!(says(&ground, "echo again", &[]).await.trim(), "again");
}

#[tokio::test]
async fn a_patch_for_which_there_is_no_room_is_ended_before_the_disk_is_full() {
    let Some(disk) = Disk::mount("64m") else {
        return;
    };
    let workspaces = disk.0.join("workspaces");
    let environment = [
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("WORKSPACES_MIN_FREE_MB", "20"),
        ("MAX_ARTIFACT_MB", "100000"),
    ];
    let Some(ground) = Ground::sandboxed(&environment).await else {
        return;
    };
    // Little in the workspace, and ten times that in a patch, which names each link with all that is behind it.
    let links =
        "head -c 5000000 /dev/urandom > large; for n in 1 2 3 4 5 6 7 8 9; do ln large l$n; done; echo made";
    let job = ground.submit(&sh(links, &[])).await;
    assert_eq!(ground.end(job).await, "failed output_limit");
    assert_eq!(ground.log(job, "stdout").await, "made\n");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(message.contains("WORKSPACES_MIN_FREE_MB"), "{message}");
    assert!(!workspaces.join(job.to_string()).join("patch.diff").exists());
}

#[tokio::test]
async fn nothing_is_begun_where_there_is_no_room() {
    let Some(ground) = Ground::sandboxed(&[("WORKSPACES_MIN_FREE_MB", "100000000")]).await else {
        return;
    };
    let job = ground.submit(&sh("echo never", &[])).await;
    assert_eq!(ground.end(job).await, "failed output_limit");
    assert_eq!(ground.log(job, "stdout").await, "null");
}
