//! `orchestrator openapi`

use std::process::ExitCode;

use super::output;
use crate::api;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    output::text(&format!("{}\n", api::document().to_pretty_json()?))?;
    Ok(ExitCode::SUCCESS)
}
