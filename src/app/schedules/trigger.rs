//! A schedule run now, whatever its expression says.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::json;

use super::{Error, locked, tell};
use crate::app::authenticate::Caller;
use crate::app::fire_due::carry_out::carry_out;
use crate::app::fire_due::open;
use crate::app::fire_due::plan::{Batch, Candidate, Ready};
use crate::app::hint::Hints;
use crate::app::schedules::read::definition;
use crate::domain::clock::Instant;
use crate::domain::id::{ProjectId, ScheduleId};
use crate::store::schedule as rows;
use crate::store::schedule::occurrence::{self, Occurrence, Record};
use crate::store::{Pool, Result as Stored};

/// Runs a schedule now, also one that is paused; its own instants stay as they are. Its policy for
/// overlaps decides as about any other run, and the occurrence says what was decided. Under the same
/// `key` a repeat is answered with the first.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn trigger(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    id: ScheduleId,
    key: Option<&str>,
    now: Instant,
) -> Result<Occurrence, Error> {
    let mut transaction = pool.begin().await?;
    let row = locked(&mut transaction, caller, id, None).await?;
    if let Some(key) = key
        && let Some(first) = occurrence::triggered(&mut *transaction, id, Some(key), None).await?
    {
        return Ok(first);
    }
    let definition = definition(&row).map_err(Error::Unreadable)?;
    let ready = [Ready { row, definition }];
    let mut due_at = apart(rows::now(&mut *transaction, now).await?);
    // Two within a microsecond, or with the clock put back between them.
    while occurrence::triggered(&mut *transaction, id, None, Some(due_at))
        .await?
        .is_some()
    {
        due_at = apart(due_at + TimeDelta::microseconds(1));
    }
    let open = open(&mut transaction, &ready).await?;
    let mut batch = Batch::default();
    let candidate = asked_for(caller, id, due_at, key);
    let open = open.get(&id).map(Vec::as_slice).unwrap_or_default();
    batch.add(0, &ready[0], open, vec![candidate]);
    let aftermath = carry_out(&mut transaction, &ready, &batch, now).await?;
    let row = &ready[0].row;
    let detail = json!({ "due_at": due_at });
    tell(
        &mut transaction,
        caller,
        ProjectId(row.project_id),
        "schedule.triggered",
        id,
        &row.name,
        detail,
    )
    .await?;
    let made: Stored<Option<Occurrence>> =
        occurrence::triggered(&mut *transaction, id, None, Some(due_at)).await;
    let made = made?.ok_or(Error::Unknown(id))?;
    transaction.commit().await?;
    aftermath.follow(pool, hints).await;
    Ok(made)
}

/// The key is shared with the expression's instants, which are whole seconds: a triggered run is never
/// at one, and takes none away.
fn apart(at: DateTime<Utc>) -> DateTime<Utc> {
    let at = at.trunc_subsecs(6);
    match at.timestamp_subsec_micros() {
        0 => at + TimeDelta::microseconds(1),
        _ => at,
    }
}

fn asked_for(caller: &Caller, id: ScheduleId, due_at: DateTime<Utc>, key: Option<&str>) -> Candidate {
    let record = Record {
        schedule: id,
        due_at,
        fire_at: due_at,
        decision: "skipped",
        reason: "triggered",
        detail: format!("Triggered by {}.", caller.actor),
        origin: "trigger",
        actor: caller.actor.clone(),
        trigger_key: key.map(str::to_owned),
        job: None,
        last_due_at: None,
        stands_for: 1,
    };
    Candidate { runs: true, record }
}
