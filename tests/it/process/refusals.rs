//! Programs that cannot be started, each told from the others.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use orchestrator::runner::process::{Command, Refusal};

use super::{command, run};
use crate::support;

async fn refused(command: Command) -> (Refusal, String) {
    let error = run(command).await.0.unwrap_err();
    (error.refusal, error.to_string())
}

/// A file with this content and mode.
fn file(directory: &Path, name: &str, content: &str, mode: u32) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_that_is_not_there_is_missing() {
    let (refusal, sentence) = refused(command(&["no-such-program"])).await;
    assert_eq!(refusal, Refusal::Missing);
    assert_eq!(
        sentence,
        "`no-such-program` was not found; install it on the runner's host, or give its whole path (PATH is /usr/bin:/bin)."
    );
    assert_eq!(refused(command(&["/no/such/program"])).await.0, Refusal::Missing);
}

#[tokio::test]
async fn a_file_that_is_no_program_is_told_from_one_that_may_not_be_executed() {
    let directory = support::scratch();
    let plain = file(&directory, "plain", "#!/bin/sh\n", 0o644);
    let (refusal, sentence) = refused(command(&[&plain])).await;
    assert_eq!(refusal, Refusal::NotExecutable);
    assert!(sentence.contains("check its mode and owner"), "{sentence}");
    let text = file(&directory, "text", "echo hello\n", 0o755);
    let (refusal, sentence) = refused(command(&[&text])).await;
    assert_eq!(refusal, Refusal::NotExecutable);
    assert!(sentence.contains("is no program"), "{sentence}");
    assert_eq!(refused(command(&["/usr"])).await.0, Refusal::NotExecutable);
}

#[tokio::test]
async fn a_script_whose_interpreter_is_missing_says_so() {
    let directory = support::scratch();
    let script = file(&directory, "script", "#!/no/such/interpreter\n", 0o755);
    let (refusal, sentence) = refused(command(&[&script])).await;
    assert_eq!(refusal, Refusal::Interpreter);
    assert!(sentence.contains("the interpreter it names is not"), "{sentence}");
}

#[tokio::test]
async fn an_argument_the_kernel_does_not_take_is_too_large() {
    let argument = "x".repeat(200 * 1024);
    assert_eq!(refused(command(&["true", &argument])).await.0, Refusal::TooLarge);
}

#[tokio::test]
async fn a_directory_that_is_gone_is_told_from_a_program_that_is() {
    let mut gone = command(&["true"]);
    gone.directory = support::scratch().join("gone");
    let (refusal, sentence) = refused(gone).await;
    assert_eq!(refusal, Refusal::Directory);
    assert!(sentence.contains("could not be started in"), "{sentence}");
}

#[tokio::test]
async fn a_program_that_may_be_executed_is_found_behind_one_that_may_not() {
    let directory = support::scratch();
    for (place, mode) in [("first", 0o644), ("second", 0o755)] {
        std::fs::create_dir(directory.join(place)).unwrap();
        file(&directory.join(place), "tool", "#!/bin/sh\necho $0\n", mode);
    }
    let mut found = command(&["tool"]);
    let places = directory.display();
    found.env = vec![
        ("PATH".into(), "/nowhere".into()),
        ("PATH".into(), format!("/nowhere:{places}/first:{places}/second")),
    ];
    let (outcome, printed) = run(found).await;
    outcome.unwrap();
    assert_eq!(printed.text(), format!("{places}/second/tool\n"));
}
