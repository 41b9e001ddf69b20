//! Schedules as code: the tables are made to match files, all of them or nothing.

use std::collections::BTreeSet;

use serde::Serialize;
use uuid::Uuid;

use super::{Error, change_in, create_in, delete_in, locked};
use crate::app::authenticate::Caller;
use crate::app::fire_due::carry_out::Aftermath;
use crate::app::hint::Hints;
use crate::app::schedules::read::definition;
use crate::domain::clock::Instant;
use crate::domain::id::ScheduleId;
use crate::domain::problem::Violation;
use crate::domain::schedule::{Change, Definition, changes};
use crate::store::schedule as rows;
use crate::store::{Connection, Pool};

/// What was done, or would be, to one schedule.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// Alias of its project.
    pub project_id: String,
    /// Its name.
    pub name: String,
    /// What was done.
    #[serde(flatten)]
    pub step: Step,
}

/// What was done to a schedule.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Step {
    /// It was made.
    Created {
        /// What it holds.
        definition: Box<Definition>,
    },
    /// It was changed.
    Changed {
        /// In which fields.
        changes: Vec<Change>,
    },
    /// It is as the files say.
    Unchanged,
    /// It was deleted.
    Deleted,
}

/// How files are applied.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The name of this set of files: `prune` deletes what earlier applies of it made.
    pub set: &'a str,
    /// Whether schedules of the set that are no longer in the files are deleted.
    pub prune: bool,
    /// Whether to say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Makes the tables match `wanted`, in one transaction; answers with what was done, in their order.
///
/// # Errors
///
/// [`Error`], which says what to do; of an invalid one, the path begins with `schedules[index]`.
pub async fn apply(
    pool: &Pool,
    hints: &Hints,
    caller: &Caller,
    wanted: &[Definition],
    manner: Manner<'_>,
    now: Instant,
) -> Result<Vec<Applied>, Error> {
    let mut transaction = pool.begin().await?;
    rows::lock_files(&mut *transaction).await?;
    let mut aftermath = Aftermath::default();
    let (mut applied, mut kept) = (Vec::new(), BTreeSet::<Uuid>::new());
    for (index, definition) in wanted.iter().enumerate() {
        let done = apply_one(&mut transaction, caller, definition, manner.set, now).await;
        let (id, step, left) = done.map_err(|error| within(error, index))?;
        kept.insert(id.0);
        aftermath.join(left);
        applied.push(Applied {
            project_id: definition.job.project_id.clone(),
            name: definition.name.clone(),
            step,
        });
    }
    if manner.prune {
        let set = rows::managed_by(&mut *transaction, manner.set).await?;
        for id in set.into_iter().filter(|id| !kept.contains(&id.0)) {
            let row = locked(&mut transaction, caller, id, None).await?;
            delete_in(&mut transaction, caller, &row).await?;
            applied.push(Applied {
                project_id: row.project_alias,
                name: row.name,
                step: Step::Deleted,
            });
        }
    }
    if manner.dry_run {
        transaction.rollback().await?;
        return Ok(applied);
    }
    transaction.commit().await?;
    aftermath.follow(pool, hints).await;
    Ok(applied)
}

async fn apply_one(
    db: &mut Connection,
    caller: &Caller,
    new: &Definition,
    set: &str,
    now: Instant,
) -> Result<(ScheduleId, Step, Aftermath), Error> {
    let named = rows::named(&mut *db, Some(&new.job.project_id), &new.name).await?;
    let Some(id) = named.first().copied() else {
        let id = create_in(db, caller, new, Some(set), now, "job.project_id").await?;
        let definition = Box::new(new.clone());
        return Ok((id, Step::Created { definition }, Aftermath::default()));
    };
    let old = locked(db, caller, id, None).await?;
    let differs = match definition(&old) {
        Ok(mut before) => {
            before.enabled = new.enabled.map(|_| old.paused_at.is_none());
            let [before, after] = [&before, new].map(|one| serde_json::to_value(one).unwrap_or_default());
            changes(&before, &after)
        }
        Err(why) => vec![Change {
            path: "(the row cannot be read)".to_owned(),
            from: Some(why.into()),
            to: None,
        }],
    };
    let aftermath = change_in(db, caller, &old, new, Some(set), now).await?;
    let step = match differs.is_empty() {
        true => Step::Unchanged,
        false => Step::Changed { changes: differs },
    };
    Ok((id, step, aftermath))
}

/// Says which of several definitions an error is about.
fn within(error: Error, index: usize) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations
                .into_iter()
                .map(|violation| {
                    Violation::new(
                        format!("schedules[{index}].{}", violation.path),
                        violation.message,
                    )
                })
                .collect(),
        ),
        error => error,
    }
}
