//! `orchestrator dev` for what comes from outside: a whole service with a real runner, and its token.

use serde_json::Value;

use crate::support::{Program, Scratch, scratch};

/// A running `dev`. It ends with this.
pub(crate) struct Developer {
    pub(crate) url: String,
    pub(crate) token: String,
    /// Where its data lies; also a place for what a test writes.
    pub(crate) directory: Scratch,
    _program: Program,
}

impl Developer {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let directory = scratch();
        let data = directory.join("data");
        let arguments = [
            "dev",
            "--json",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let mut program = Program::start(&arguments, environment);
        let ready: Value = serde_json::from_str(&program.hear("{\"api_url\"")).unwrap();
        let text = |field: &str| ready[field].as_str().unwrap().to_owned();
        Self {
            url: text("api_url"),
            token: text("token"),
            directory,
            _program: program,
        }
    }
}

/// Runs a script of this repository to its end and answers with its standard output.
pub(crate) fn script(name: &str, arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/");
    let output = std::process::Command::new(format!("{script}{name}"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} {arguments:?} ended with {}:\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    out
}
