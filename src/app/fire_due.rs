//! Schedules whose instant has come make their jobs: the occurrence, its job and the schedule's
//! advance are one transaction, so a crash anywhere loses and doubles nothing.

use chrono::TimeDelta;

use super::hint::Hints;
use crate::domain::clock::Instant;
use crate::domain::id::JobId;
use crate::domain::schedule::{
    DEFAULT_GRACE, Expression, Jitter, Missed, Occurrence, Timetable, Zone, occurrences,
};
use crate::domain::spec::JobSpec;
use crate::store::event::NewEvent;
use crate::store::insert::NewJob;
use crate::store::schedule::Due;
use crate::store::{self, Connection, Pool, Result};

/// Most schedules one transaction fires.
const BATCH: u32 = 100;

/// Fires every schedule that is due, in bounded transactions; answers with the number of jobs made.
///
/// Any number of schedulers may run this at once: each skips what another holds, and an instant is
/// decided once because it is a key.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away; what was not committed is due again.
pub async fn fire_due(pool: &Pool, hints: &Hints, now: Instant) -> Result<usize> {
    let mut made = 0;
    loop {
        let mut transaction = pool.begin().await?;
        let due = store::schedule::lock_due(&mut *transaction, now, BATCH).await?;
        let mut queues = Vec::new();
        for schedule in &due {
            queues.extend(fire(&mut transaction, schedule, now).await?);
        }
        transaction.commit().await?;
        queues.iter().for_each(|queue| hints.work(queue));
        made += queues.len();
        if due.len() < BATCH as usize {
            return Ok(made);
        }
    }
}

/// Decides about one schedule; answers with the queue of each job it made.
async fn fire(db: &mut Connection, due: &Due, now: Instant) -> Result<Vec<String>> {
    let (timetable, spec) = match read(due) {
        Ok(read) => read,
        Err(why) => return set_aside(db, due, why).await.map(|()| Vec::new()),
    };
    let plan = occurrences(&timetable, due.next_due_at, due.now);
    let mut queues = Vec::new();
    for occurrence in &plan.occurrences {
        if decide(db, due, &spec, occurrence, now).await? {
            queues.push(spec.queue.clone());
        }
    }
    store::schedule::advance(&mut *db, due.id, plan.next_due_at).await?;
    Ok(queues)
}

async fn decide(
    db: &mut Connection,
    due: &Due,
    spec: &JobSpec,
    occurrence: &Occurrence,
    now: Instant,
) -> Result<bool> {
    let (due_at, runs) = (occurrence.due_at, occurrence.decision.is_run());
    let first = store::schedule::occur(&mut *db, due.id, due_at, runs, occurrence.decision.code()).await?;
    metrics::counter!("orchestrator_schedules_fired_total", "decision" => occurrence.decision.code())
        .increment(1);
    if !first || !runs {
        return Ok(false);
    }
    let actor = format!("schedule:{}", due.name);
    let job = NewJob {
        id: JobId::generate(),
        project: due.project,
        spec,
        request_hash: [0; 32],
        actor: &actor,
        needs: Vec::new(),
        needed: false,
    };
    store::insert::insert(&mut *db, std::slice::from_ref(&job), now).await?;
    store::schedule::made(&mut *db, due.id, due_at, job.id).await?;
    Ok(true)
}

fn read(due: &Due) -> std::result::Result<(Timetable, JobSpec), String> {
    let spec =
        serde_json::from_value(due.spec.clone()).map_err(|error| format!("its job template: {error}"))?;
    let expression = Expression::parse(&due.expression).map_err(|error| error.to_string())?;
    let zone = Zone::parse(&due.zone).map_err(|error| error.to_string())?;
    let timetable = Timetable {
        expression,
        zone,
        anchor: due.anchor,
        starts_at: None,
        ends_at: None,
        missed: Missed::default(),
        grace: DEFAULT_GRACE,
        jitter: Jitter::of(due.id.0, TimeDelta::zero()),
    };
    Ok((timetable, spec))
}

/// A row that cannot be understood (written by hand, or by another version) is paused and said.
async fn set_aside(db: &mut Connection, due: &Due, why: String) -> Result<()> {
    tracing::error!(schedule.id = %due.id, schedule.name = %due.name, why, "a schedule cannot be read and is paused");
    store::schedule::pause(&mut *db, due.id).await?;
    let detail = Some(serde_json::json!({ "schedule_id": due.id, "name": due.name, "reason": why }));
    let event = NewEvent {
        project: Some(due.project),
        job: None,
        kind: "schedule.paused",
        actor: "scheduler",
        detail,
    };
    store::event::append(&mut *db, &event).await
}
