//! A schedule paused, and let go on.

use serde_json::json;

use super::{Error, Expected, WAITED, locked, pass_over, row, stand, tell};
use crate::app::authenticate::Caller;
use crate::app::schedules::read::definition;
use crate::domain::clock::Instant;
use crate::domain::id::{ProjectId, ScheduleId};
use crate::store::Pool;
use crate::store::schedule::occurrence;
use crate::store::schedule::{self as rows, Schedule};

/// Pauses a schedule: nothing of it is fired until it is resumed. What runs goes on; what waits for
/// that is given up. Pausing it again changes nothing.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn pause(
    pool: &Pool,
    caller: &Caller,
    id: ScheduleId,
    reason: Option<&str>,
    expected: Expected<'_>,
) -> Result<Schedule, Error> {
    let mut transaction = pool.begin().await?;
    let old = locked(&mut transaction, caller, id, expected).await?;
    if rows::pause(&mut *transaction, id, reason).await? {
        occurrence::give_up(&mut *transaction, &[id], "paused", WAITED).await?;
        let detail = json!({ "reason": reason });
        let project = ProjectId(old.project_id);
        tell(
            &mut transaction,
            caller,
            project,
            "schedule.paused",
            id,
            &old.name,
            detail,
        )
        .await?;
    }
    let row = row(&mut transaction, caller, id).await?;
    transaction.commit().await?;
    Ok(row)
}

/// Lets a paused schedule go on at its next instant. What was due meanwhile is recorded and not run,
/// unless `catch_up` asks for it: then its policy for missed runs decides. Resuming one that is not
/// paused changes nothing.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn resume(
    pool: &Pool,
    caller: &Caller,
    id: ScheduleId,
    catch_up: bool,
    expected: Expected<'_>,
    now: Instant,
) -> Result<Schedule, Error> {
    let mut transaction = pool.begin().await?;
    let old = locked(&mut transaction, caller, id, expected).await?;
    if old.paused_at.is_none() {
        return Ok(old);
    }
    let timetable = definition(&old)
        .map_err(Error::Unreadable)?
        .timetable(old.id, old.anchor);
    let at = rows::now(&mut *transaction, now).await?;
    let mut next = None;
    if let Some(due) = old.next_due_at {
        if !catch_up {
            pass_over(&mut transaction, id, &timetable, due, at, &caller.actor).await?;
        }
        next = timetable.resume(due, at, catch_up);
    }
    rows::resume(&mut *transaction, id, &stand(&timetable, next)).await?;
    let detail = json!({ "catch_up": catch_up });
    let project = ProjectId(old.project_id);
    tell(
        &mut transaction,
        caller,
        project,
        "schedule.resumed",
        id,
        &old.name,
        detail,
    )
    .await?;
    let row = row(&mut transaction, caller, id).await?;
    transaction.commit().await?;
    Ok(row)
}
