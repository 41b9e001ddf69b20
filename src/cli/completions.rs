//! `orchestrator completions SHELL`

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, output};

/// Prints what makes a shell complete this program's commands and flags, as
/// `orchestrator completions bash > /usr/share/bash-completion/completions/orchestrator`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "orchestrator", &mut script);
        output::text(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
