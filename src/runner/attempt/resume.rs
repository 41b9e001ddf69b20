//! What an attempt that is not the first goes by: results, time spent, and what somebody said.

use std::time::Duration;

use crate::app::lease::History;
use crate::domain::approval::Decision;
use crate::domain::flow;
use crate::domain::spec::StepSpec;
use crate::store::history::Answer;

/// The past of a job, as it matters to this attempt.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) steps: Vec<flow::Past>,
    pub(super) spent: Duration,
    answers: Vec<Answer>,
}

impl Past {
    pub(super) fn of(history: History) -> Self {
        let History { past, spent, answers } = history;
        Self {
            steps: past,
            spent,
            answers,
        }
    }

    /// Whether somebody let the job begin. Whatever else was asked later was asked of a job that had.
    pub(super) fn is_approved(&self) -> bool {
        self.answers
            .iter()
            .any(|answer| answer.decision != Decision::Rejected)
    }

    /// Whether somebody said that the step at `position`, where this attempt begins, is passed over.
    pub(super) fn is_to_skip(&self, position: usize) -> bool {
        let last = self.answers.iter().rfind(|answer| answer.position == position);
        last.is_some_and(|answer| answer.decision == Decision::Skipped && !answer.followed)
    }

    /// Puts in the prompts somebody wrote when they approved.
    pub(super) fn edit(&self, steps: &mut [StepSpec]) {
        for answer in &self.answers {
            if let (Some(prompt), Some(step)) = (&answer.prompt, steps.get_mut(answer.position)) {
                step.prompt = Some(prompt.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(answers: &[(usize, Decision, bool)]) -> Past {
        let answer = |&(position, decision, followed): &(usize, Decision, bool)| Answer {
            position,
            decision,
            prompt: (decision == Decision::Approved).then(|| format!("prompt {position}")),
            followed,
        };
        Past {
            answers: answers.iter().map(answer).collect(),
            ..Past::default()
        }
    }

    #[test]
    fn only_the_last_word_on_a_step_counts_and_only_once() {
        assert!(past(&[(2, Decision::Skipped, false)]).is_to_skip(2));
        assert!(!past(&[(2, Decision::Skipped, false)]).is_to_skip(1));
        assert!(!past(&[(2, Decision::Skipped, true)]).is_to_skip(2));
        assert!(!past(&[(2, Decision::Skipped, true), (2, Decision::Approved, false)]).is_to_skip(2));
    }

    #[test]
    fn a_job_that_was_rejected_is_not_approved() {
        assert!(!past(&[]).is_approved());
        assert!(!past(&[(0, Decision::Rejected, false)]).is_approved());
        assert!(past(&[(0, Decision::Rejected, false), (0, Decision::Skipped, false)]).is_approved());
    }

    #[test]
    fn an_edited_prompt_stays_with_its_step() {
        let mut steps = [StepSpec::of("a", "claude"), StepSpec::of("b", "claude")];
        past(&[(1, Decision::Approved, true)]).edit(&mut steps);
        assert_eq!(
            (steps[0].prompt.as_deref(), steps[1].prompt.as_deref()),
            (None, Some("prompt 1"))
        );
    }
}
