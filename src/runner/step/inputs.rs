//! Artifacts an agent is shown.

use crate::domain::prompt::Input;
use crate::domain::spec::artifact_source;
use crate::store::usage::Told;

/// Reads what an agent is to be shown. What is not there is `None`.
pub(super) fn read(told: &[Told], paths: Vec<String>) -> Vec<Input> {
    let input = |path: String| Input {
        text: report(told, &path),
        path,
    };
    paths.into_iter().map(input).collect()
}

/// What a step said is in the tables.
fn report(told: &[Told], path: &str) -> Option<String> {
    let step_id = artifact_source(path).filter(|_| path.ends_with("/report.md"))?;
    told.iter().find(|told| told.step_id == step_id)?.said.clone()
}
