//! Which programs a step may be: those the host allows, and of those the ones its job does.

use std::path::{Path, PathBuf};

use super::Place;
use crate::domain::agent::Binary;
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::spec::StepSpec;
use crate::runner::Settings;
use crate::runner::versions::locate;

/// Checks the program of a step. Where a list is in force, answers with the file that was looked at, which is the one to
/// be run.
///
/// # Errors
///
/// `policy`, with the list that does not have the program.
pub(super) fn program(
    settings: &Settings,
    step: &StepSpec,
    place: &Place<'_>,
    program: &str,
) -> Result<Option<PathBuf>, Failure> {
    let lists = [
        ("ALLOWED_BINARIES of the host", &settings.allowed_binaries),
        (
            "policy.allowed_binaries of the job",
            &place.spec.policy.allowed_binaries,
        ),
    ];
    if lists.iter().all(|(_, list)| list.is_empty()) {
        return Ok(None);
    }
    let path = step
        .env
        .get("PATH")
        .map_or_else(|| settings.path(), String::as_str);
    let Some(found) = find(program, path, place.workspace.path()) else {
        let sentence = format!("`{program}` was not found; install it, or say where it is.");
        return Err(Failure::new(Code::Spawn, sentence));
    };
    let Ok(file) = found.canonicalize() else {
        let sentence = format!("`{program}` cannot be looked at.");
        return Err(Failure::new(Code::Spawn, sentence));
    };
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let has = |entry: &String| {
            // Where the host looks, whatever the step calls its PATH.
            let allowed = locate(entry, settings.path()).and_then(|found| found.canonicalize().ok());
            allowed.is_some_and(|allowed| allowed == file)
        };
        if !list.iter().any(has) {
            let sentence = format!(
                "`{program}`, which is {}, is not among the {name}: {}. Use one of those, or ask the administrator.",
                file.display(),
                list.join(", ")
            );
            return Err(Failure::new(Code::Policy, sentence));
        }
    }
    // By a name of the system, because some programs are several by their names; never by one of the workspace's.
    Ok(Some(if program.contains('/') { file } else { found }))
}

/// Where the kernel would find it.
fn find(program: &str, path: &str, workspace: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(workspace.join(program));
    }
    let absolute = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    locate(program, &std::env::join_paths(absolute).ok()?.into_string().ok()?)
}

/// The programs a step needs, each at least as new as the host says. `program` is the one that is run.
///
/// They are asked for their version outside of the sandbox, so that they must be the host's.
///
/// # Errors
///
/// `policy`, when the program has the name of one that is to be so new, and is another.
pub(super) fn binaries(
    settings: &Settings,
    place: &Place<'_>,
    program: &str,
    named: &[Binary],
) -> Result<Vec<Binary>, Failure> {
    let name_of = |program: &str| {
        let name = Path::new(program).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let mut all = named.to_vec();
    let name = name_of(program);
    if settings.minimums.contains_key(&name) && !all.iter().any(|binary| binary.name == program) {
        let file = |path: &Path| path.canonicalize().ok();
        let called = file(&place.workspace.path().join(program));
        let mut hosts = std::env::split_paths(settings.path()).map(|directory| directory.join(&name));
        let asked = match program.contains('/') {
            false => Some(name.clone()),
            true => hosts
                .find(|host| called.is_some() && file(host) == called)
                .map(|host| host.to_string_lossy().into_owned()),
        };
        let Some(asked) = asked else {
            let sentence = format!(
                "`{program}` has the name of a program that MIN_BINARY_VERSIONS says how new it must be, and is none of the host's PATH: call it `{name}`, or give your own another name."
            );
            return Err(Failure::new(Code::Policy, sentence));
        };
        all.push(Binary::named(&asked));
    }
    for binary in &mut all {
        if let Some(minimum) = settings.minimums.get(&name_of(&binary.name)) {
            binary.raise(minimum);
        }
    }
    Ok(all)
}
