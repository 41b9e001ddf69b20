//! Why a program did not do what it should, each time as a sentence that says what to do.

use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::domain::spec::StepSpec;
use crate::runner::held::Reason;
use crate::runner::process::{End, Outcome, Refusal, SpawnError};

/// What is said when the job's own time is over.
pub(in crate::runner) fn out_of_time(seconds: u32) -> String {
    format!("The job's steps took longer than {seconds} s together; raise the job's timeout_sec.")
}

/// Why nothing was run.
pub(super) fn not_started(error: &SpawnError) -> Failure {
    let code = match error.refusal {
        Refusal::Directory => Code::Workspace,
        Refusal::Sandbox => Code::Policy,
        _ => Code::Spawn,
    };
    Failure::new(code, error.to_string())
}

/// Why the step did not do what it should, as a sentence that says what to do. `of_all` are the seconds that the job's steps
/// may take together, where less was left of them than the step's own time.
pub(super) fn of(
    program: &str,
    step: &StepSpec,
    of_all: Option<u32>,
    outcome: &Outcome,
    stopped: Option<Reason>,
) -> Option<Failure> {
    let (code, sentence) = match outcome.end {
        End::Exited(0) => return None,
        End::Exited(code) => (
            Code::ExitNonzero,
            format!("`{program}` exited with code {code}; the log of the step says why."),
        ),
        End::Signalled(signal) => (
            Code::Signalled,
            format!("`{program}` was ended by signal {signal}, which this runner did not send."),
        ),
        End::OutOfMemory => (
            Code::OutOfMemory,
            format!(
                "`{program}` was killed because the memory it may use was full; it held {} MB. Let it use less, or raise its limit.",
                outcome.peak_memory_bytes / 1_000_000
            ),
        ),
        End::LeaseOver => (
            Code::Interrupted,
            format!("`{program}` was ended because the lease of its runner had passed."),
        ),
        End::Unwatched => (
            Code::Signalled,
            format!("`{program}` was ended because the process that watched over it was killed."),
        ),
        End::TimedOut => (
            Code::Timeout,
            match of_all {
                Some(seconds) => out_of_time(seconds),
                None => format!(
                    "`{program}` ran longer than {} s; raise timeout_sec or make it faster.",
                    step.timeout_sec
                ),
            },
        ),
        End::IdleTimedOut => (
            Code::IdleTimeout,
            format!(
                "`{program}` printed nothing for {} s; let it say what it does, or raise idle_timeout_sec (0 is off).",
                step.idle_timeout_sec
            ),
        ),
        End::Stopped => match stopped {
            Some(Reason::Cancelled) => (Code::Cancelled, "Stopped on request.".to_owned()),
            _ => (
                Code::Interrupted,
                "Stopped because its runner stops; it is run again elsewhere.".to_owned(),
            ),
        },
    };
    Some(Failure::new(code, sentence))
}
