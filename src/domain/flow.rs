//! The way through a job's steps: what is next, given what came of those before.
//!
//! Nothing is kept but what the tables keep: the job's row says which step is live and how often it
//! was tried again, the rows of its steps say what each end led to ([`Verdict`]). So an attempt that begins
//! anywhere, after a crash, a wait or an approval, goes the way the last one would have gone.
//!
//! ```text
//!            ┌─ succeeded ───────────────▶ the next step whose `if` holds, or the end
//!   a step ──┤
//!            └─ failed ─▶ again, max_retries times ─▶ stop │ continue │ ask_human │ goto
//! ```

use std::collections::BTreeMap;

use super::attempt::Failure;
use super::spec::{OnFailure, StepSpec};

#[cfg(test)]
mod properties;

/// How often the `goto` of one step is followed in a job, until somebody retries the job.
pub const MAX_JUMPS: u32 = 10;

/// What the end of a step led to. Kept with the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next step.
    Proceed,
    /// The same step again, after a wait.
    Retry,
    /// The next step, although it failed.
    Continue,
    /// The step at this index.
    Goto(usize),
    /// Somebody is asked.
    Ask,
    /// The job fails, once the steps that run all the same have run.
    Stop,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the step at this index.
    Run(usize),
    /// Pass over the step at this index: its `if` does not hold.
    Skip(usize),
    /// Nothing: the job has succeeded, or failed with this.
    End(Option<Failure>),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It did what it should.
    Succeeded,
    /// It was passed over, because of its `if` or on somebody's word.
    Skipped,
    /// It failed.
    Failed(Failure),
    /// It cannot go on without somebody's word, whatever its `on_failure` says.
    NeedsHuman(Failure),
    /// The job has no time left.
    OutOfTime(Failure),
}

/// A step that ended before, in this try of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its index.
    pub position: usize,
    /// The word of its verdict; `None` when nothing had to be decided.
    pub verdict: Option<String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// Where a job is on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow<'a> {
    steps: &'a [StepSpec],
    at: usize,
    retries: u32,
    jumps: BTreeMap<usize, u32>,
    failure: Option<Failure>,
    over: bool,
}

impl<'a> Flow<'a> {
    /// The way from the step at `at`, tried again `retries` times so far, after what is `past`.
    #[must_use]
    pub fn resume(steps: &'a [StepSpec], at: usize, retries: u32, past: &[Past]) -> Self {
        let mut flow = Self {
            steps,
            at,
            retries,
            jumps: BTreeMap::new(),
            failure: None,
            over: false,
        };
        for step in past {
            match step.verdict.as_deref() {
                Some("stop") if flow.failure.is_none() => flow.failure.clone_from(&step.failure),
                Some(word) if word.starts_with("goto:") => *flow.jumps.entry(step.position).or_default() += 1,
                _ => {}
            }
        }
        flow
    }

    /// Index of the step that is live.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How often that step was tried again.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&self) -> Next {
        let failed = self.failure.is_some();
        let mut left = self.steps.iter().skip(self.at);
        match left.clone().next() {
            Some(_) if self.over => Next::End(self.failure.clone()),
            Some(step) if step.when.holds(failed) => Next::Run(self.at),
            Some(_) if left.any(|later| later.when.holds(failed)) => Next::Skip(self.at),
            _ => Next::End(self.failure.clone()),
        }
    }

    /// Takes note of what came of the live step, and decides what that leads to.
    pub fn after(&mut self, came: &Came) -> Verdict {
        let verdict = self.judge(came);
        match &verdict {
            Verdict::Retry => self.retries += 1,
            Verdict::Ask => {}
            Verdict::Proceed | Verdict::Continue => self.go_to(self.at + 1),
            Verdict::Goto(target) => {
                *self.jumps.entry(self.at).or_default() += 1;
                self.go_to(*target);
            }
            Verdict::Stop => {
                if let (None, Came::Failed(failure) | Came::NeedsHuman(failure) | Came::OutOfTime(failure)) =
                    (&self.failure, came)
                {
                    self.failure = Some(failure.clone());
                }
                self.over |= matches!(came, Came::OutOfTime(_));
                self.go_to(self.at + 1);
            }
        }
        verdict
    }

    fn judge(&self, came: &Came) -> Verdict {
        let failure = match came {
            Came::Succeeded | Came::Skipped => return Verdict::Proceed,
            Came::NeedsHuman(_) => return Verdict::Ask,
            Came::OutOfTime(_) => return Verdict::Stop,
            Came::Failed(failure) => failure,
        };
        let Some(step) = self.steps.get(self.at) else {
            return Verdict::Stop;
        };
        if failure.code.may_pass() && self.retries < step.max_retries.into() {
            return Verdict::Retry;
        }
        match &step.on_failure {
            OnFailure::Stop => Verdict::Stop,
            OnFailure::Continue => Verdict::Continue,
            OnFailure::AskHuman => Verdict::Ask,
            OnFailure::Goto(step_id) => match self.target(step_id) {
                Some(target) if self.jumps.get(&self.at).copied().unwrap_or_default() < MAX_JUMPS => {
                    Verdict::Goto(target)
                }
                _ => Verdict::Stop,
            },
        }
    }

    /// Whether the live step would go elsewhere, had it not done so too often.
    #[must_use]
    pub fn is_at_its_bound(&self) -> bool {
        self.jumps.get(&self.at).copied().unwrap_or_default() >= MAX_JUMPS
    }

    fn target(&self, step_id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.step_id == step_id)
    }

    fn go_to(&mut self, at: usize) {
        self.at = at;
        self.retries = 0;
    }
}

impl Verdict {
    /// The word the step's row keeps, if anything had to be decided.
    #[must_use]
    pub fn word(&self, steps: &[StepSpec]) -> Option<String> {
        match self {
            Self::Proceed => None,
            Self::Retry => Some("retry".to_owned()),
            Self::Continue => Some("continue".to_owned()),
            Self::Ask => Some("ask_human".to_owned()),
            Self::Stop => Some("stop".to_owned()),
            Self::Goto(target) => {
                let step_id = steps.get(*target).map_or("", |step| step.step_id.as_str());
                Some(format!("goto:{step_id}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Code;
    use crate::domain::spec::Condition;

    fn step(id: &str, on_failure: OnFailure, when: Condition) -> StepSpec {
        StepSpec {
            max_retries: 0,
            on_failure,
            when,
            ..StepSpec::of(id, "command")
        }
    }

    fn plain(id: &str) -> StepSpec {
        step(id, OnFailure::Stop, Condition::Success)
    }

    fn failed() -> Came {
        Came::Failed(Failure::new(Code::ExitNonzero, "It failed."))
    }

    fn walk(steps: &[StepSpec], mut came: impl FnMut(usize) -> Came) -> (Vec<String>, Next) {
        let mut flow = Flow::resume(steps, 0, 0, &[]);
        let mut way = Vec::new();
        loop {
            let (at, event) = match flow.next() {
                Next::Run(at) => (at, came(at)),
                Next::Skip(at) => (at, Came::Skipped),
                end @ Next::End(_) => return (way, end),
            };
            let skipped = if event == Came::Skipped { "-" } else { "" };
            way.push(format!("{skipped}{}", steps[at].step_id));
            if flow.after(&event) == Verdict::Ask {
                return (way, flow.next());
            }
        }
    }

    #[test]
    fn a_plain_failure_ends_the_job_at_once() {
        let (way, end) = walk(&[plain("a"), plain("b")], |_| failed());
        assert_eq!(way, ["a"]);
        assert!(matches!(end, Next::End(Some(_))));
    }

    #[test]
    fn steps_that_run_all_the_same_run_after_a_failure_and_the_job_fails() {
        let steps = [
            plain("a"),
            plain("b"),
            step("tell", OnFailure::Stop, Condition::Failure),
            plain("c"),
            step("clean", OnFailure::Stop, Condition::Always),
        ];
        let (way, end) = walk(&steps, |at| if at == 0 { failed() } else { Came::Succeeded });
        assert_eq!(way, ["a", "-b", "tell", "-c", "clean"]);
        assert!(matches!(end, Next::End(Some(_))));
        let (way, end) = walk(&steps, |_| Came::Succeeded);
        assert_eq!(way, ["a", "b", "-tell", "c", "clean"]);
        assert_eq!(end, Next::End(None));
    }

    #[test]
    fn a_failure_that_is_continued_is_none_to_what_follows() {
        let steps = [
            step("a", OnFailure::Continue, Condition::Success),
            step("tell", OnFailure::Stop, Condition::Failure),
            plain("b"),
        ];
        let (way, end) = walk(&steps, |at| if at == 0 { failed() } else { Came::Succeeded });
        assert_eq!(way, ["a", "-tell", "b"]);
        assert_eq!(end, Next::End(None));
    }

    #[test]
    fn a_loop_ends() {
        let steps = [
            plain("fix"),
            step("test", OnFailure::Goto("fix".into()), Condition::Success),
        ];
        let (way, end) = walk(&steps, |at| if at == 1 { failed() } else { Came::Succeeded });
        let rounds = usize::try_from(MAX_JUMPS).unwrap() + 1;
        assert_eq!(way.len(), rounds * 2);
        assert!(matches!(end, Next::End(Some(_))));
    }

    #[test]
    fn without_time_nothing_more_runs() {
        let steps = [plain("a"), step("clean", OnFailure::Stop, Condition::Always)];
        let (way, end) = walk(&steps, |_| {
            Came::OutOfTime(Failure::new(Code::Timeout, "The job's time is over."))
        });
        assert_eq!(way, ["a"]);
        assert!(matches!(end, Next::End(Some(_))));
    }
}
