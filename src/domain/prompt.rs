//! What an agent is asked: the goal, its task, what was said before, and the artifacts it is shown.

use std::fmt::Write as _;

use super::spec::{ContextEntry, ContextStrategy};

/// How much of artifacts an agent is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLimits {
    /// Most artifacts of a step.
    pub files: usize,
    /// Most characters of one.
    pub file_chars: usize,
    /// Most characters of all together.
    pub chars: usize,
}

/// An artifact an agent is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its path below the job's artifacts.
    pub path: String,
    /// What is in it, or its beginning; `None` when it is not there.
    pub text: Option<String>,
    /// How many characters all of it has.
    pub chars: usize,
}

/// Everything an agent is told.
#[derive(Clone, Debug)]
pub struct Briefing<'a> {
    /// What the job is for.
    pub goal: &'a str,
    /// What the step is for.
    pub task: &'a str,
    /// What was said before, as much as the strategy leaves.
    pub context: Vec<ContextEntry>,
    /// How it was chosen.
    pub strategy: ContextStrategy,
    /// What it is shown.
    pub inputs: Vec<Input>,
}

impl Briefing<'_> {
    /// The whole prompt, and what was left out of it, a sentence each.
    #[must_use]
    pub fn write(&self, limits: InputLimits) -> (String, Vec<String>) {
        let mut prompt = format!("## Goal\n\n{}\n\n## Task\n\n{}\n", self.goal, self.task);
        if !self.context.is_empty() {
            let _ = write!(prompt, "\n## Conversation context ({})\n", self.strategy);
        }
        for (number, entry) in (1..).zip(&self.context) {
            let _ = write!(
                prompt,
                "\n### {number}. {}\n\n{}\n",
                entry.role,
                entry.content.trim_end()
            );
        }
        let (shown, left_out) = show(&self.inputs, limits);
        prompt.push_str(&shown);
        (prompt, left_out)
    }
}

/// The artifacts with a line before and behind each, and what was left out of them.
fn show(inputs: &[Input], limits: InputLimits) -> (String, Vec<String>) {
    let (mut shown, mut left_out) = (String::new(), Vec::new());
    if inputs.is_empty() {
        return (shown, left_out);
    }
    shown.push_str("\n## Input artifacts\n");
    let mut room = limits.chars;
    for Input { path, text, chars } in inputs.iter().take(limits.files) {
        let _ = write!(shown, "\n=== BEGIN ARTIFACT: {path} ===\n");
        match text {
            None => {
                shown.push_str("[missing]\n");
                left_out.push(format!("input artifact {path} is not there"));
            }
            Some(text) => {
                let all = *chars;
                let kept = all.min(limits.file_chars).min(room);
                room -= kept;
                shown.extend(text.chars().take(kept));
                if !shown.ends_with('\n') {
                    shown.push('\n');
                }
                if all > limits.file_chars {
                    shown.push_str("[truncated:file_limit]\n");
                }
                if all.min(limits.file_chars) > kept {
                    shown.push_str("[truncated:total_limit]\n");
                }
                if kept < all {
                    left_out.push(format!(
                        "of input artifact {path} {kept} of {all} characters are shown"
                    ));
                }
            }
        }
        shown.push_str("=== END ARTIFACT ===\n");
    }
    for Input { path, .. } in inputs.iter().skip(limits.files) {
        left_out.push(format!(
            "input artifact {path} is not shown: {} are the most (MAX_INPUT_ARTIFACTS_FILES)",
            limits.files
        ));
    }
    if !left_out.is_empty() {
        shown.push_str("\n[artifacts_truncated_or_limited]\n");
    }
    (shown, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, text: Option<&str>) -> Input {
        Input {
            path: path.into(),
            text: text.map(Into::into),
            chars: text.map_or(0, |text| text.chars().count()),
        }
    }

    #[test]
    fn each_of_the_three_limits_is_kept_and_said() {
        let inputs = [
            input("a.txt", Some("abcdefghij")),
            input("b.txt", Some("1234567890")),
            input("c.txt", None),
            input("d.txt", Some("never")),
        ];
        let limits = InputLimits {
            files: 3,
            file_chars: 8,
            chars: 12,
        };
        let (shown, left_out) = show(&inputs, limits);
        insta::assert_snapshot!(shown, @r"

        ## Input artifacts

        === BEGIN ARTIFACT: a.txt ===
        abcdefgh
        [truncated:file_limit]
        === END ARTIFACT ===

        === BEGIN ARTIFACT: b.txt ===
        1234
        [truncated:file_limit]
        [truncated:total_limit]
        === END ARTIFACT ===

        === BEGIN ARTIFACT: c.txt ===
        [missing]
        === END ARTIFACT ===

        [artifacts_truncated_or_limited]
        ");
        assert_eq!(
            left_out,
            [
                "of input artifact a.txt 8 of 10 characters are shown",
                "of input artifact b.txt 4 of 10 characters are shown",
                "input artifact c.txt is not there",
                "input artifact d.txt is not shown: 3 are the most (MAX_INPUT_ARTIFACTS_FILES)",
            ]
        );
    }

    #[test]
    fn a_briefing_holds_everything_in_one_order() {
        let briefing = Briefing {
            goal: "Ship it",
            task: "Write the code",
            context: vec![ContextEntry {
                role: "user".into(),
                content: "be quick\n".into(),
            }],
            strategy: ContextStrategy::Full,
            inputs: vec![input("report.md", Some("done\n"))],
        };
        let limits = InputLimits {
            files: 10,
            file_chars: 100,
            chars: 100,
        };
        let (prompt, left_out) = briefing.write(limits);
        insta::assert_snapshot!(prompt, @r"
        ## Goal

        Ship it

        ## Task

        Write the code

        ## Conversation context (full)

        ### 1. user

        be quick

        ## Input artifacts

        === BEGIN ARTIFACT: report.md ===
        done
        === END ARTIFACT ===
        ");
        assert!(left_out.is_empty());
    }
}
