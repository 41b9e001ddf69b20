//! This host: directories, room on disk, the sandbox, programs. Seen as who runs this, so run it as the services' user.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};

use super::database::Project;
use super::{Check, Verdict};
use crate::cli::objects::objects;
use crate::cli::{runner, settings};
use crate::config;
use crate::objects::Objects;

/// Least free room and least free share of a file system, and least free share of its files.
const FREE_BYTES: u64 = 2_000_000_000;
const FREE_PERCENT: u64 = 10;
/// How long a bucket may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn look(projects: &[Project], checks: &mut Vec<Check>) {
    let Ok(settings) = settings::read::<config::Runner>() else {
        // What is wrong with them was said.
        return;
    };
    checks.push(user());
    directory("WORKSPACES_ROOT", &settings.workspaces_root, checks);
    if let Ok(from) = settings::read::<config::Artifacts>() {
        artifacts(&from, checks).await;
    }
    for (alias, directory) in projects {
        if let Err(error) = access(directory, Access::READ_OK | Access::EXEC_OK) {
            checks.push(Check::warn(
                "projects",
                format!("{alias}: {directory} cannot be read here: {error}"),
                "correct PROJECT_ALIASES, or make it readable, on every host whose runners serve the project",
            ));
        }
    }
    sandbox(&settings, checks).await;
    programs(checks);
}

fn user() -> Check {
    match rustix::process::geteuid().is_root() {
        true => Check::warn(
            "user",
            "doctor runs as root, which sees more than the services do",
            "run it as the services' user: runuser -u orchestrator -- orchestrator … doctor",
        ),
        false => Check::ok("user", "doctor sees what an ordinary user sees"),
    }
}

/// Where artifacts are kept: a directory of this host, or a bucket that must answer.
async fn artifacts(from: &config::Artifacts, checks: &mut Vec<Check>) {
    let Some(bucket) = from
        .artifacts_s3_bucket
        .as_deref()
        .filter(|name| !name.is_empty())
    else {
        return directory("ARTIFACTS_ROOT", &from.artifacts_root, checks);
    };
    let ask = async {
        objects(from)?.reach().await?;
        anyhow::Ok(())
    };
    let answer = match tokio::time::timeout(ANSWERS_WITHIN, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", ANSWERS_WITHIN.as_secs())),
    };
    checks.push(match answer {
        Ok(()) => Check::ok("artifacts", format!("bucket {bucket} answers")),
        Err(error) => Check::fail(
            "artifacts",
            format!("bucket {bucket} cannot be used: {error:#}"),
            "correct ARTIFACTS_S3_* and AWS_*: steps that leave artifacts fail until it answers",
        ),
    });
}

/// One that a service writes in.
fn directory(setting: &'static str, path: &Path, checks: &mut Vec<Check>) {
    let shown = path.display();
    let Ok(found) = std::fs::metadata(path) else {
        // The services make it, where they may.
        let parent = path.ancestors().skip(1).find(|parent| parent.exists());
        let may = parent.is_some_and(|parent| access(parent, Access::WRITE_OK).is_ok());
        checks.push(match may {
            true => Check::ok("directories", format!("{setting}: {shown} will be made")),
            false => Check::fail(
                "directories",
                format!("{setting}: {shown} is not there and cannot be made"),
                "make it, owned by the services' user",
            ),
        });
        return;
    };
    checks.push(match () {
        () if !found.is_dir() => Check::fail(
            "directories",
            format!("{setting}: {shown} is no directory"),
            "name another",
        ),
        () if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() => Check::fail(
            "directories",
            format!("{setting}: {shown} cannot be written"),
            "give it to the services' user: chown orchestrator:orchestrator",
        ),
        () if found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0 => Check::warn(
            "directories",
            format!("{setting}: everybody may write {shown}"),
            "chmod o-w: others could change what steps read",
        ),
        () => Check::ok("directories", format!("{setting}: {shown} can be written")),
    });
    disk(path, checks);
}

fn disk(path: &Path, checks: &mut Vec<Check>) {
    let Ok(system) = statvfs(path) else { return };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let share = |free: u64, all: u64| (free * 100).checked_div(all).unwrap_or(100);
    let (room, files) = (
        share(system.f_bavail, system.f_blocks),
        share(system.f_favail, system.f_files),
    );
    let found = format!(
        "{} has {} MB ({room} %) and {files} % of its files free",
        path.display(),
        free / 1_000_000
    );
    let verdict = match room.min(files) {
        0..2 => Verdict::Fail,
        _ if free < FREE_BYTES / 10 => Verdict::Fail,
        2..FREE_PERCENT => Verdict::Warn,
        _ if free < FREE_BYTES => Verdict::Warn,
        _ => Verdict::Ok,
    };
    let remedy = (verdict > Verdict::Ok)
        .then(|| "make room: old workspaces may be deleted while their jobs do not run".to_owned());
    checks.push(Check::new("disk", verdict, found, remedy));
}

async fn sandbox(settings: &config::Runner, checks: &mut Vec<Check>) {
    let root = settings.workspaces_root.clone();
    // Only the sandbox is looked at.
    let nowhere = Objects::directory(&root);
    let check = match runner::settings(settings, root, nowhere, false).await {
        Err(error) => Check::fail("sandbox", format!("{error:#}"), "correct the runner's settings"),
        Ok(settings) => match settings.sandbox.state() {
            Ok(what) => Check::ok("sandbox", what),
            Err(why) if settings.sandbox.is_off() => Check::warn(
                "sandbox",
                why,
                "leave SANDBOX out, unless every job's author may do all the services' user may",
            ),
            Err(why) => Check::fail(
                "sandbox",
                why,
                "install bubblewrap, and let ordinary users make user namespaces (sysctl user.max_user_namespaces)",
            ),
        },
    };
    checks.push(check);
}

/// What steps and workspaces need beside the sandbox.
fn programs(checks: &mut Vec<Check>) {
    let path = config::Host::read().path.unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("git"))
        .find(|program| access(program, Access::EXEC_OK).is_ok());
    checks.push(match found {
        Some(git) => Check::ok("programs", format!("git is {}", git.display())),
        None => Check::fail(
            "programs",
            "git is not in PATH",
            "install git: workspaces are clones",
        ),
    });
}
