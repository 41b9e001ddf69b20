//! Schedules made, changed and deleted, one at a time; several by their files in [`apply`].

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::authenticate::Caller;
use super::fire_due::carry_out::Aftermath;
use super::fire_due::plan::passed_over;
use super::fire_due::{self};
use super::hint::Hints;
use crate::domain::clock::Instant;
use crate::domain::id::{ProjectId, ScheduleId};
use crate::domain::problem::Violation;
use crate::domain::schedule::{Decision, Definition, Occurrence, Timetable};
use crate::store::event::NewEvent;
use crate::store::schedule::occurrence::{self, Record};
use crate::store::schedule::{self as rows, Schedule, Stand};
use crate::store::{self, Connection, Pool};

pub mod apply;
pub mod read;
pub mod steer;
pub mod trigger;
pub mod view;

use read::definition;

/// Why a wish about a schedule was not done. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with the definition.
    #[error("the definition has {} error(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// The caller does not reach the project, or there is none by this name.
    #[error("this token does not reach a project named {0:?}")]
    Project(String),
    /// There is no such schedule, or the caller may not know of it.
    #[error("there is no schedule {0} that you can see")]
    Unknown(ScheduleId),
    /// Another schedule of the project has the name.
    #[error("the project has a schedule named {0:?}; change that one, or choose another name")]
    NameTaken(String),
    /// The caller had seen another version.
    #[error("the schedule is at version {0} now; look at it again and repeat the change")]
    Stale(i32),
    /// The row cannot be understood.
    #[error("the schedule cannot be read: {0}; give it another definition")]
    Unreadable(String),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Which versions the caller agrees to act on; `None` is any.
pub type Expected<'a> = Option<&'a [i32]>;

/// Makes a schedule; its first run is the next instant after now.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn create(
    pool: &Pool,
    caller: &Caller,
    definition: &Definition,
    now: Instant,
) -> Result<Schedule, Error> {
    let mut transaction = pool.begin().await?;
    let id = create_in(&mut transaction, caller, definition, None, now, "job.project_id").await?;
    let row = row(&mut transaction, caller, id).await?;
    transaction.commit().await?;
    Ok(row)
}

/// Gives a schedule another definition. What is due under the old one is fired first; an instant that
/// was decided is not decided again. A definition that changes nothing leaves it at its version.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn change(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    id: ScheduleId,
    definition: &Definition,
    expected: Expected<'_>,
    now: Instant,
) -> Result<Schedule, Error> {
    let mut transaction = pool.begin().await?;
    let old = locked(&mut transaction, caller, id, expected).await?;
    let managed_by = old.managed_by.clone();
    let aftermath = change_in(
        &mut transaction,
        caller,
        &old,
        definition,
        managed_by.as_deref(),
        now,
    )
    .await?;
    let row = row(&mut transaction, caller, id).await?;
    transaction.commit().await?;
    aftermath.follow(pool, hints).await;
    Ok(row)
}

/// Deletes a schedule and its occurrences; the jobs it made stay. Answers with what it was.
///
/// # Errors
///
/// [`Error`], which says what to do.
pub async fn delete(
    pool: &Pool,
    caller: &Caller,
    id: ScheduleId,
    expected: Expected<'_>,
) -> Result<Schedule, Error> {
    let mut transaction = pool.begin().await?;
    let row = locked(&mut transaction, caller, id, expected).await?;
    delete_in(&mut transaction, caller, &row).await?;
    transaction.commit().await?;
    Ok(row)
}

/// The schedule, if the caller may see it.
///
/// # Errors
///
/// [`Error::Unknown`]; [`Error::Store`] when PostgreSQL is away.
pub async fn find(pool: &Pool, caller: &Caller, id: ScheduleId) -> Result<Schedule, Error> {
    let found = rows::read(pool, &[id], caller.projects.as_deref()).await?;
    found.into_iter().next().ok_or(Error::Unknown(id))
}

async fn row(db: &mut Connection, caller: &Caller, id: ScheduleId) -> Result<Schedule, Error> {
    let found = rows::read(&mut *db, &[id], caller.projects.as_deref()).await?;
    found.into_iter().next().ok_or(Error::Unknown(id))
}

/// The schedule, locked until the transaction ends.
async fn locked(
    db: &mut Connection,
    caller: &Caller,
    id: ScheduleId,
    expected: Expected<'_>,
) -> Result<Schedule, Error> {
    rows::lock(&mut *db, &[id]).await?;
    let row = row(db, caller, id).await?;
    match expected {
        Some(versions) if !versions.contains(&row.version) => Err(Error::Stale(row.version)),
        _ => Ok(row),
    }
}

async fn create_in(
    db: &mut Connection,
    caller: &Caller,
    definition: &Definition,
    managed_by: Option<&str>,
    now: Instant,
    path: &str,
) -> Result<ScheduleId, Error> {
    let project = project(db, caller, &definition.job.project_id, path).await?;
    let at = rows::now(&mut *db, now).await?;
    let id = ScheduleId::generate();
    let timetable = definition.timetable(id.0, at);
    let mut stand = stand(&timetable, timetable.next_after(at));
    if definition.enabled == Some(false) {
        stand.paused_at = Some(at);
    }
    let made = rows::insert(&mut *db, (id, project), definition, managed_by, at, &stand).await;
    made.map_err(|error| name_taken(error, definition))?;
    tell(
        db,
        caller,
        project,
        "schedule.created",
        id,
        &definition.name,
        json!({}),
    )
    .await?;
    Ok(id)
}

async fn change_in(
    db: &mut Connection,
    caller: &Caller,
    old: &Schedule,
    new: &Definition,
    managed_by: Option<&str>,
    now: Instant,
) -> Result<Aftermath, Error> {
    if new.job.project_id != old.project_alias {
        let sentence = format!(
            "is {:?}, and the schedule belongs to {:?}; make another schedule for another project",
            new.job.project_id, old.project_alias
        );
        return Err(Error::Invalid(vec![Violation::new("job.project_id", sentence)]));
    }
    let id = ScheduleId(old.id);
    let before = definition(old).ok();
    let paused_after = new.enabled.map_or(old.paused_at.is_some(), |enabled| !enabled);
    let same = before
        .as_ref()
        .is_some_and(|before| changed_fields(before, new).is_empty());
    if same && paused_after == old.paused_at.is_some() && managed_by == old.managed_by.as_deref() {
        return Ok(Aftermath::default());
    }
    let at = rows::now(&mut *db, now).await?;
    let mut aftermath = Aftermath::default();
    if old.paused_at.is_none() && old.fire_at.is_some_and(|fire_at| fire_at <= at) && before.is_some() {
        aftermath = fire_due::fire(db, &[id], now).await?;
    }
    let old = row(db, caller, id).await?;
    let mut stand = moved(db, &old, before.as_ref(), new, paused_after, at, &caller.actor).await?;
    if paused_after {
        stand.paused_at = Some(old.paused_at.unwrap_or(at));
        stand.pause_reason = old.pause_reason.clone();
    }
    if paused_after && old.paused_at.is_none() {
        occurrence::give_up(&mut *db, &[id], "paused", WAITED).await?;
    }
    let updated = rows::update(&mut *db, id, new, managed_by, &stand).await;
    updated.map_err(|error| name_taken(error, new))?;
    let fields = before.map_or_else(Vec::new, |before| changed_fields(&before, new));
    let detail = json!({ "fields": fields, "paused": paused_after });
    tell(
        db,
        caller,
        ProjectId(old.project_id),
        "schedule.changed",
        id,
        &new.name,
        detail,
    )
    .await?;
    Ok(aftermath)
}

/// What becomes of an occurrence that waits when its schedule is paused.
const WAITED: &str = "The schedule was paused while it waited.";

/// Where a schedule goes on under a new definition; what is passed over by that is recorded.
async fn moved(
    db: &mut Connection,
    old: &Schedule,
    before: Option<&Definition>,
    new: &Definition,
    paused_after: bool,
    at: DateTime<Utc>,
    actor: &str,
) -> Result<Stand, Error> {
    let id = ScheduleId(old.id);
    let timetable = new.timetable(old.id, old.anchor);
    let otherwise = before.is_none_or(|before| new.is_due_otherwise_than(before));
    let resumed = old.paused_at.is_some() && !paused_after;
    if !otherwise && !resumed {
        return Ok(stand(&timetable, old.next_due_at));
    }
    if let (Some(before), Some(due)) = (before, old.next_due_at) {
        let table = before.timetable(old.id, old.anchor);
        match old.paused_at {
            Some(_) => pass_over(db, id, &table, due, at, actor).await?,
            // It was due and its jitter had not passed.
            None if due <= at => {
                let detail = "The schedule was changed before this run was released.";
                let fire_at = old.fire_at.unwrap_or(due);
                let one = Occurrence {
                    due_at: due,
                    fire_at,
                    decision: Decision::SkipMissed,
                };
                occurrence::record(&mut *db, &[passed_over(id, &one, "changed", detail, actor)]).await?;
            }
            None => {}
        }
    }
    let next = match (otherwise, old.next_due_at) {
        (true, _) => {
            let last = occurrence::last_decided(&mut *db, id).await?;
            timetable.next_after(last.map_or(at, |last| last.max(at)))
        }
        (false, Some(due)) => timetable.resume(due, at, false),
        (false, None) => None,
    };
    Ok(stand(&timetable, next))
}

/// Records what was due while a schedule was paused, and is not run.
async fn pass_over(
    db: &mut Connection,
    id: ScheduleId,
    table: &Timetable,
    next_due_at: DateTime<Utc>,
    at: DateTime<Utc>,
    actor: &str,
) -> Result<(), Error> {
    let detail = "It was due while the schedule was paused.";
    let records: Vec<Record> = table
        .passed_over(next_due_at, at)
        .iter()
        .map(|occurrence| passed_over(id, occurrence, "paused", detail, actor))
        .collect();
    if !records.is_empty() {
        occurrence::record(&mut *db, &records).await?;
    }
    Ok(())
}

async fn delete_in(db: &mut Connection, caller: &Caller, row: &Schedule) -> Result<(), Error> {
    let id = ScheduleId(row.id);
    rows::delete(&mut *db, id).await?;
    tell(
        db,
        caller,
        ProjectId(row.project_id),
        "schedule.deleted",
        id,
        &row.name,
        json!({}),
    )
    .await
}

/// A schedule that is not paused and goes on at `next`.
fn stand(timetable: &Timetable, next: Option<DateTime<Utc>>) -> Stand {
    let delay: TimeDelta = timetable.jitter.delay();
    Stand {
        next_due_at: next,
        fire_at: next.map(|next| next + delay),
        ..Stand::default()
    }
}

/// The paths of the fields in which two definitions differ, whether enabled or not.
fn changed_fields(before: &Definition, new: &Definition) -> Vec<String> {
    let plain = |definition: &Definition| {
        let definition = Definition {
            enabled: None,
            ..definition.clone()
        };
        serde_json::to_value(definition).unwrap_or_default()
    };
    let changes = crate::domain::schedule::changes(&plain(before), &plain(new));
    changes.into_iter().map(|change| change.path).collect()
}

async fn project(db: &mut Connection, caller: &Caller, alias: &str, path: &str) -> Result<ProjectId, Error> {
    match store::project::by_alias(&mut *db, alias).await? {
        Some(project) if caller.reaches(project.id) => Ok(project.id),
        // Whoever sees every project learns that it does not exist; others learn nothing of it.
        None if caller.projects.is_none() => Err(Error::Invalid(vec![Violation::new(
            path,
            format!("there is no project named {alias:?}; make it first, or set it in PROJECT_ALIASES"),
        )])),
        _ => Err(Error::Project(alias.to_owned())),
    }
}

fn name_taken(error: store::Error, definition: &Definition) -> Error {
    match error.constraint() {
        Some("schedule_name_is_unique") => Error::NameTaken(definition.name.clone()),
        _ => Error::Store(error),
    }
}

/// Writes what was done to a schedule into the audit log.
async fn tell(
    db: &mut Connection,
    caller: &Caller,
    project: ProjectId,
    kind: &str,
    id: ScheduleId,
    name: &str,
    mut detail: serde_json::Value,
) -> Result<(), Error> {
    detail["schedule_id"] = json!(id);
    detail["name"] = json!(name);
    let event = NewEvent {
        project: Some(project),
        job: None,
        kind,
        actor: &caller.actor,
        detail: Some(detail),
    };
    Ok(store::event::append(&mut *db, &event).await?)
}
