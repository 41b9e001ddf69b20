//! What agents of a job are told besides their task.

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use utoipa::ToSchema;

use super::check::{no_nul, no_nul_str};

/// Entries that are kept by [`ContextStrategy::Sliding`].
pub const SLIDING: usize = 12;
/// Most characters of an entry that are kept by [`ContextStrategy::Summarize`].
pub const SUMMARY: usize = 400;

/// Something that was said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextEntry {
    /// Who said it, as `user` or `assistant`.
    #[garde(length(chars, min = 1, max = 64), custom(no_nul_str))]
    #[schema(min_length = 1, max_length = 64, example = "user")]
    pub role: String,
    /// What was said, 1–20000 characters.
    #[garde(length(chars, min = 1, max = 20000), custom(no_nul))]
    #[schema(
        min_length = 1,
        max_length = 20000,
        example = "The tests run with `make test`."
    )]
    pub content: String,
}

/// How much of what was said before an agent is told.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ContextStrategy {
    /// Everything.
    Full,
    /// The beginning of each entry.
    Summarize,
    /// The last twelve entries.
    #[default]
    Sliding,
}

impl ContextStrategy {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The entries an agent is told, of all that there are.
    #[must_use]
    pub fn apply(self, mut entries: Vec<ContextEntry>) -> Vec<ContextEntry> {
        match self {
            Self::Full => {}
            Self::Sliding => drop(entries.drain(..entries.len().saturating_sub(SLIDING))),
            Self::Summarize => entries.iter_mut().for_each(shorten),
        }
        entries
    }
}

fn shorten(entry: &mut ContextEntry) {
    let count = entry.content.chars().count();
    if count > SUMMARY {
        let kept: String = entry.content.chars().take(SUMMARY).collect();
        entry.content = format!("{} … ({} of {count} characters)", kept.trim_end(), SUMMARY);
    }
}

/// How the work of one step comes to the next.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Handoff {
    /// A step gets the artifacts and patches it names.
    Manual,
    /// A step is shown the patch of the last one that succeeded, and nothing else.
    PatchFirst,
    /// A step finds everything in the workspace; what it names is left out.
    WorkspaceFirst,
}

impl Handoff {
    /// The artifacts an agent is shown and the patches that are applied first, when `last` is the step that
    /// succeeded last.
    #[must_use]
    pub fn resolve(self, step: &super::StepSpec, last: Option<&str>) -> (Vec<String>, Vec<String>) {
        match (self, last) {
            (Self::Manual, _) => (step.input_artifacts.clone(), step.apply_patches_from.clone()),
            (Self::PatchFirst, Some(last)) => (vec![format!("steps/{last}/patch.diff")], Vec::new()),
            (Self::PatchFirst, None) | (Self::WorkspaceFirst, _) => (Vec::new(), Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Vec<ContextEntry> {
        let entry = |number: usize| ContextEntry {
            role: "user".into(),
            content: number.to_string(),
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn sliding_keeps_the_last_twelve_and_full_keeps_all() {
        let kept = ContextStrategy::Sliding.apply(entries(30));
        assert_eq!((kept.len(), kept[0].content.as_str()), (12, "18"));
        assert_eq!(ContextStrategy::Sliding.apply(entries(3)).len(), 3);
        assert_eq!(ContextStrategy::Full.apply(entries(30)).len(), 30);
    }

    #[test]
    fn a_hand_off_decides_what_a_step_is_given() {
        let step = super::super::StepSpec {
            input_artifacts: vec!["steps/old/report.md".into()],
            apply_patches_from: vec!["old".into()],
            ..super::super::StepSpec::of("fix", "codex")
        };
        let given = |handoff: Handoff, last| {
            let (inputs, patches) = handoff.resolve(&step, last);
            format!("{} | {}", inputs.join(" "), patches.join(" "))
        };
        assert_eq!(given(Handoff::Manual, Some("make")), "steps/old/report.md | old");
        assert_eq!(
            given(Handoff::PatchFirst, Some("make")),
            "steps/make/patch.diff | "
        );
        assert_eq!(given(Handoff::PatchFirst, None), " | ");
        assert_eq!(given(Handoff::WorkspaceFirst, Some("make")), " | ");
    }

    #[test]
    fn summarize_says_how_much_it_left_out() {
        let long = ContextEntry {
            role: "user".into(),
            content: "é".repeat(1000),
        };
        let kept = ContextStrategy::Summarize.apply(vec![long, entries(1).remove(0)]);
        assert!(
            kept[0].content.ends_with("… (400 of 1000 characters)"),
            "{}",
            kept[0].content
        );
        assert_eq!(kept[1].content, "0");
    }
}
