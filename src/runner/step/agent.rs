//! An agent's step: what it is asked, what it says.

use super::Place;
use crate::app::lease::Session;
use crate::domain::attempt::StepRecord;
use crate::domain::clock;
use crate::domain::spec::StepSpec;
use crate::domain::usage::Usage;
use crate::runner::logs::Log;

/// Says what an agent would have been asked to do, and that it was not.
pub(super) async fn simulate(
    session: &Session,
    step: &StepSpec,
    place: &Place<'_>,
    record: &mut StepRecord,
    log: &mut Log<'_>,
) {
    let prompt = step.prompt.as_deref().unwrap_or_default();
    log.say(place.position, &format!("simulated, nothing was run: {prompt}"))
        .await;
    let usage = Usage {
        agent: step.agent.clone(),
        simulated: true,
        report: prompt.to_owned(),
        ..Usage::default()
    };
    let _ = session.record_usage(place.job.fence, place.ordinal, &usage).await;
    record.finished_at = clock::now();
}
