//! A step's `report.md`: what its agent said, or what became of its program.

use std::fmt::Write as _;

use super::Place;
use crate::app::lease::Session;
use crate::domain::ansi;
use crate::domain::attempt::StepRecord;
use crate::domain::spec::StepSpec;
use crate::runner::logs::Log;
use crate::runner::redact::Secrets;

/// Most characters of what a program printed last.
const TAIL: u16 = 4000;

/// The text of it.
pub(super) async fn of(
    step: &StepSpec,
    place: &Place<'_>,
    session: &Session,
    record: &StepRecord,
    secrets: &Secrets,
    log: &Log<'_>,
) -> String {
    let said = match &record.usage {
        Some(usage) if !usage.report.trim().is_empty() => return usage.report.clone(),
        Some(_) => None,
        None => match log.tail(place.position, TAIL.into()) {
            // While the tables are away nothing is kept at all.
            None => session
                .tail(place.job.fence, place.position, TAIL.into())
                .await
                .ok()
                .flatten(),
            short => short,
        },
    };
    let mut report = format!("# Step {}\n\n- status: {}\n", step.step_id, record.status());
    if let Some(failure) = &record.failure {
        let _ = writeln!(report, "- code: {}\n- {}", failure.code, failure.message);
    }
    if let Some(code) = record.exit_code {
        let _ = writeln!(report, "- exit code: {code}");
    }
    let said = ansi::strip(&said.unwrap_or_default());
    if !said.trim().is_empty() {
        let _ = write!(report, "\n## Output\n\n{}\n", said.trim_end());
    }
    secrets.redact(&report).0
}
