//! Random pipelines walked through by [`Flow`] and by a plain interpreter that knows nothing of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Came, Flow, MAX_JUMPS, Next, Past};
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::spec::{Condition, OnFailure, StepSpec};

/// What happens when a step runs for the nth time in the whole walk.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Succeeds,
    Fails,
    FailsForGood,
    NeedsHuman,
}

impl Chance {
    fn came(self, n: usize) -> Came {
        let failure = |code| Failure::new(code, format!("failure {n}"));
        match self {
            Self::Succeeds => Came::Succeeded,
            Self::Fails => Came::Failed(failure(Code::ExitNonzero)),
            Self::FailsForGood => Came::Failed(failure(Code::Spawn)),
            Self::NeedsHuman => Came::NeedsHuman(failure(Code::Policy)),
        }
    }
}

/// What somebody says when asked.
#[derive(Clone, Copy, Debug)]
enum Word {
    Again,
    Skip,
}

/// What happened, in words: the trace both walkers must agree on.
type Trace = Vec<String>;

fn pipelines() -> impl Strategy<Value = Vec<StepSpec>> {
    let step = (0u8..3, 0u8..8, 0usize..6, 0u8..3);
    prop::collection::vec(step, 1..6).prop_map(|drawn| {
        let count = drawn.len();
        let made = drawn
            .into_iter()
            .enumerate()
            .map(|(at, (retries, failure, target, when))| StepSpec {
                max_retries: retries,
                on_failure: match failure {
                    0 | 1 => OnFailure::Stop,
                    2 | 3 => OnFailure::Continue,
                    4 => OnFailure::AskHuman,
                    _ if target % count == at => OnFailure::Stop,
                    _ => OnFailure::Goto(format!("s{}", target % count)),
                },
                when: [Condition::Success, Condition::Failure, Condition::Always][usize::from(when)],
                ..StepSpec::of(&format!("s{at}"), "command")
            });
        made.collect()
    })
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let chance = prop_oneof![
        4 => Just(Chance::Succeeds),
        4 => Just(Chance::Fails),
        1 => Just(Chance::FailsForGood),
        1 => Just(Chance::NeedsHuman),
    ];
    prop::collection::vec(chance, 1..40)
}

fn words() -> impl Strategy<Value = Vec<Word>> {
    prop::collection::vec(prop_oneof![Just(Word::Again), Just(Word::Skip)], 1..8)
}

/// Asked more often than this, somebody loses patience and ends the job.
const PATIENCE: usize = 12;

/// As the documentation reads, with a variable for everything and no look at [`Flow`].
fn interpret(steps: &[StepSpec], chances: &[Chance], words: &[Word]) -> Trace {
    let mut trace = Trace::new();
    let (mut at, mut retries, mut runs, mut asked) = (0, 0, 0, 0);
    let mut failed: Option<String> = None;
    let mut followed: BTreeMap<usize, u32> = BTreeMap::new();
    'job: while at < steps.len() {
        let runs_now = |step: &StepSpec| match step.when {
            Condition::Always => true,
            Condition::Success => failed.is_none(),
            Condition::Failure => failed.is_some(),
        };
        if !runs_now(&steps[at]) {
            if !steps[at..].iter().any(runs_now) {
                break 'job;
            }
            trace.push(format!("skip {at}"));
            (at, retries) = (at + 1, 0);
            continue;
        }
        let chance = chances[runs % chances.len()];
        trace.push(format!("run {at}"));
        runs += 1;
        let asks = match chance {
            Chance::Succeeds => {
                (at, retries) = (at + 1, 0);
                continue;
            }
            Chance::Fails if retries < steps[at].max_retries => {
                retries += 1;
                continue;
            }
            Chance::NeedsHuman => true,
            Chance::Fails | Chance::FailsForGood => steps[at].on_failure == OnFailure::AskHuman,
        };
        if asks {
            if asked == PATIENCE {
                trace.push("rejected".to_owned());
                return trace;
            }
            match words[asked % words.len()] {
                Word::Again => retries = 0,
                Word::Skip => {
                    trace.push(format!("skip {at}"));
                    (at, retries) = (at + 1, 0);
                }
            }
            asked += 1;
            continue;
        }
        let count = followed.entry(at).or_default();
        let stop = match &steps[at].on_failure {
            OnFailure::Continue => false,
            OnFailure::Goto(target) if *count < MAX_JUMPS => {
                *count += 1;
                (at, retries) = (target[1..].parse().unwrap(), 0);
                continue;
            }
            _ => true,
        };
        if stop && failed.is_none() {
            failed = Some(format!("failure {}", runs - 1));
        }
        (at, retries) = (at + 1, 0);
    }
    trace.push(failed.unwrap_or_else(|| "succeeded".to_owned()));
    trace
}

/// What the tables would hold: the job's row and the rows of its steps.
#[derive(Default)]
struct Tables {
    position: usize,
    retries: u32,
    steps: Vec<Past>,
    skip: bool,
}

/// Walks with [`Flow`], which is made anew from the tables before each step whose number `crashes` holds.
fn walk(steps: &[StepSpec], chances: &[Chance], words: &[Word], crashes: &[bool]) -> Trace {
    let mut trace = Trace::new();
    let (mut runs, mut asked) = (0, 0);
    let mut tables = Tables::default();
    let mut flow = Flow::resume(steps, 0, 0, &[]);
    let mut crashes = crashes.iter().cycle();
    loop {
        if crashes.next() == Some(&true) {
            flow = Flow::resume(steps, tables.position, tables.retries, &tables.steps);
        }
        let (at, came) = match flow.next() {
            Next::End(failure) => {
                trace.push(failure.map_or_else(|| "succeeded".to_owned(), |failure| failure.message));
                return trace;
            }
            Next::Run(at) if std::mem::take(&mut tables.skip) => {
                trace.push(format!("skip {at}"));
                (at, Came::Skipped)
            }
            Next::Skip(at) => {
                trace.push(format!("skip {at}"));
                (at, Came::Skipped)
            }
            Next::Run(at) => {
                trace.push(format!("run {at}"));
                runs += 1;
                (at, chances[(runs - 1) % chances.len()].came(runs - 1))
            }
        };
        let verdict = flow.after(&came);
        tables.steps.push(Past {
            position: at,
            verdict: verdict.word(steps),
            failure: match came {
                Came::Failed(failure) | Came::NeedsHuman(failure) | Came::OutOfTime(failure) => Some(failure),
                Came::Succeeded | Came::Skipped => None,
            },
        });
        (tables.position, tables.retries) = (flow.position(), flow.retries());
        if verdict == super::Verdict::Ask {
            if asked == PATIENCE {
                trace.push("rejected".to_owned());
                return trace;
            }
            tables.skip = matches!(words[asked % words.len()], Word::Skip);
            tables.retries = 0;
            asked += 1;
            // Whoever goes on after an approval is always another attempt.
            flow = Flow::resume(steps, tables.position, tables.retries, &tables.steps);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn flow_goes_the_way_of_the_documentation(
        steps in pipelines(), chances in chances(), words in words(),
    ) {
        prop_assert_eq!(
            walk(&steps, &chances, &words, &[false]),
            interpret(&steps, &chances, &words)
        );
    }

    #[test]
    fn an_attempt_that_begins_anywhere_goes_the_way_the_last_would_have_gone(
        steps in pipelines(), chances in chances(), words in words(),
        crashes in prop::collection::vec(any::<bool>(), 1..10),
    ) {
        prop_assert_eq!(
            walk(&steps, &chances, &words, &crashes),
            walk(&steps, &chances, &words, &[false])
        );
    }
}
