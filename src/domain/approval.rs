//! Somebody's word on a job that waits for it.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::problem::Violation;

/// Longest comment, in characters.
const MAX_COMMENT: usize = 5000;
/// Longest prompt, in characters.
const MAX_PROMPT: usize = 20_000;

/// What somebody decided.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// The step that waits runs.
    Approved,
    /// The step that waits is passed over.
    Skipped,
    /// The job fails.
    Rejected,
}

impl Decision {
    /// The word for it, as PostgreSQL and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What is to become of the step that waits.
    pub decision: Decision,
    /// Why.
    pub comment: Option<String>,
    /// What the step's agent is to be asked instead.
    pub prompt: Option<String>,
    /// The attempt whose question this answers; `None` is whichever asked last.
    pub attempt: Option<i32>,
}

impl Word {
    /// Everything that is wrong with it, each with its path.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        found.extend(misfit("comment", self.comment.as_deref(), 0, MAX_COMMENT));
        found.extend(misfit("prompt", self.prompt.as_deref(), 1, MAX_PROMPT));
        if self.prompt.is_some() && self.decision != Decision::Approved {
            found.push(Violation::new(
                "prompt",
                "goes with a step that runs; one that is passed over is asked nothing",
            ));
        }
        found
    }
}

fn misfit(field: &str, text: Option<&str>, least: usize, most: usize) -> Option<Violation> {
    let text = text?;
    if text.contains('\0') {
        return Some(Violation::new(field, "must not hold a NUL character"));
    }
    let count = text.chars().count();
    let sentence = format!("has {count} characters; allowed are {least} to {most}");
    (!(least..=most).contains(&count)).then(|| Violation::new(field, sentence))
}
