//! What steps say of each other, and of artifacts: every name must lead somewhere.

use std::collections::BTreeSet;

use super::check::refuse;
use super::{OnFailure, StepSpec};
use crate::domain::name::is_step_id;
use crate::domain::problem::Violation;

/// Longest path of an artifact, in bytes.
const MAX_PATH: usize = 512;

/// The step whose patch `source` is: `implement`, or `steps/implement/patch.diff`.
#[must_use]
pub fn patch_source(source: &str) -> Option<&str> {
    let step_id = match source.strip_prefix("steps/") {
        Some(rest) => rest.strip_suffix("/patch.diff")?,
        None => source,
    };
    is_step_id(step_id).then_some(step_id)
}

/// The step that wrote the artifact at `path`, if a step did.
#[must_use]
pub fn artifact_source(path: &str) -> Option<&str> {
    path.strip_prefix("steps/")?.split('/').next()
}

/// Everything steps say of steps that are not there, or of themselves, with its path.
pub(super) fn violations(steps: &[StepSpec]) -> Vec<Violation> {
    let ids: BTreeSet<&str> = steps.iter().map(|step| step.step_id.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let mut say = |field: String, message: String| {
            found.push(Violation::new(format!("steps[{place}].{field}"), message));
        };
        if !seen.insert(&step.step_id) {
            say(
                "step_id".into(),
                format!("{:?} is used twice; give each step its own", step.step_id),
            );
        }
        if let OnFailure::Goto(target) = &step.on_failure {
            if *target == step.step_id {
                say(
                    "on_failure".into(),
                    "goes to the step itself; let max_retries try it again".into(),
                );
            } else if !ids.contains(target.as_str()) {
                say("on_failure".into(), unknown(target, &ids));
            }
        }
        for (number, source) in step.apply_patches_from.iter().enumerate() {
            let field = format!("apply_patches_from[{number}]");
            match patch_source(source) {
                None => say(
                    field,
                    format!(
                        "{source:?} is no step's patch; write steps/<step_id>/patch.diff, or the step_id"
                    ),
                ),
                Some(id) if id == step.step_id => say(field, "is the step's own patch".into()),
                Some(id) if !ids.contains(id) => say(field, unknown(id, &ids)),
                Some(_) => {}
            }
        }
        for (number, path) in step.input_artifacts.iter().enumerate() {
            if let Some(id) = artifact_source(path)
                && !ids.contains(id)
            {
                say(format!("input_artifacts[{number}]"), unknown(id, &ids));
            }
        }
    }
    found
}

fn unknown(id: &str, ids: &BTreeSet<&str>) -> String {
    let all: Vec<&str> = ids.iter().copied().collect();
    format!("there is no step {id:?}; there are: {}", all.join(", "))
}

/// Paths below a job's artifacts, which lead nowhere else.
pub(super) fn artifact_paths(paths: &[String], (): &()) -> garde::Result {
    match paths.iter().find(|path| !stays_inside(path)) {
        Some(path) => refuse(format!(
            "{path:?} is no path of an artifact: relative, without `..`, at most {MAX_PATH} bytes"
        )),
        None => Ok(()),
    }
}

fn stays_inside(path: &str) -> bool {
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    (1..=MAX_PATH).contains(&path.len()) && !path.contains(['\0', '\\', '\n']) && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(steps: &[StepSpec]) -> Vec<String> {
        violations(steps)
            .into_iter()
            .map(|violation| violation.path)
            .collect()
    }

    #[test]
    fn a_name_that_leads_nowhere_is_refused_where_it_stands() {
        let mut first = StepSpec::of("first", "command");
        let mut second = StepSpec::of("second", "command");
        first.on_failure = OnFailure::Goto("second".into());
        first.apply_patches_from = vec!["second".into(), "steps/second/patch.diff".into()];
        second.input_artifacts = vec!["steps/first/report.md".into(), "report.md".into()];
        assert_eq!(found(&[first.clone(), second.clone()]), Vec::<String>::new());

        first.on_failure = OnFailure::Goto("third".into());
        first.apply_patches_from = vec!["first".into(), "third".into(), "steps/second/report.md".into()];
        second.step_id = "first".into();
        second.on_failure = OnFailure::Goto("first".into());
        second.input_artifacts = vec!["report.md".into(), "steps/third/report.md".into()];
        assert_eq!(
            found(&[first, second]),
            [
                "steps[0].on_failure",
                "steps[0].apply_patches_from[0]",
                "steps[0].apply_patches_from[1]",
                "steps[0].apply_patches_from[2]",
                "steps[1].step_id",
                "steps[1].on_failure",
                "steps[1].input_artifacts[1]",
            ]
        );
    }

    #[test]
    fn paths_stay_below_the_artifacts() {
        for good in ["report.md", "steps/a/report.md", "steps/a/..b"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0",
        ] {
            assert!(!stays_inside(bad), "{bad:?}");
        }
    }
}
