//! What was decided becomes rows, and after the commit is followed up on.

use std::collections::{BTreeSet, HashSet};

use super::plan::{Batch, Ready};
use crate::app::follow;
use crate::app::hint::Hints;
use crate::domain::clock::Instant;
use crate::domain::id::{JobId, ProjectId, RunnerId, ScheduleId};
use crate::domain::job::JobState;
use crate::store::ended::Ended;
use crate::store::gate::Gate;
use crate::store::insert::{self, Inserted, NewJob};
use crate::store::listen::{self, notify};
use crate::store::schedule::displace::displace;
use crate::store::schedule::occurrence::{self, Record, Recorded};
use crate::store::{self, Connection, Pool, Result};

/// What is left to do when the transaction is committed. It is only hints: whoever is gone by then,
/// the next tick of any scheduler does the same.
#[derive(Default)]
pub(in crate::app) struct Aftermath {
    decided: Vec<(&'static str, &'static str, u64)>,
    jobs: usize,
    /// Jobs that were not made, because another holds their unique key.
    held: BTreeSet<JobId>,
    queues: BTreeSet<String>,
    gates: BTreeSet<Gate>,
    runners: Vec<RunnerId>,
    ended: Vec<Ended>,
}

/// Writes a batch: the occurrences say which jobs are to be made, and each is made with it.
pub(in crate::app) async fn carry_out(
    db: &mut Connection,
    ready: &[Ready],
    batch: &Batch,
    now: Instant,
) -> Result<Aftermath> {
    let mut given_up = 0;
    if !batch.superseded.is_empty() {
        let detail = "A later run took its place before it began (overlap: cancel_running).";
        given_up = occurrence::give_up(&mut *db, &batch.superseded, "overlap_superseded", detail).await?;
    }
    // First, so that whoever is displaced before it began leaves its unique key to who takes its place.
    let (runners, ended) = displaced(db, ready, batch).await?;
    let mut aftermath = Aftermath::default();
    if !batch.records.is_empty() {
        let recorded: HashSet<Recorded> = occurrence::record(&mut *db, &batch.records)
            .await?
            .into_iter()
            .collect();
        let first: HashSet<JobId> = recorded.iter().filter_map(|recorded| recorded.job).collect();
        let runs = batch.runs.iter().filter(|run| first.contains(&run.job));
        let runs: Vec<(JobId, &Ready)> = runs.map(|run| (run.job, &ready[run.of])).collect();
        aftermath = make(db, &runs, now).await?;
        aftermath.decide(&batch.records, &recorded);
    }
    aftermath.runners.extend(runners);
    aftermath.ended.extend(ended);
    aftermath
        .decided
        .push(("skipped", "overlap_superseded", given_up));
    if !batch.advances.is_empty() {
        store::schedule::advance(&mut *db, &batch.advances).await?;
    }
    Ok(aftermath)
}

/// Ends the runs that others take the place of; answers with who runs them, and with those that have ended.
async fn displaced(
    db: &mut Connection,
    ready: &[Ready],
    batch: &Batch,
) -> Result<(Vec<RunnerId>, Vec<Ended>)> {
    let (mut runners, mut ended) = (Vec::new(), Vec::new());
    if batch.displaced.is_empty() {
        return Ok((runners, ended));
    }
    let actors: Vec<String> = ready.iter().map(Ready::actor).collect();
    let job = |(job, of): &(JobId, usize)| (*job, actors[*of].as_str());
    let jobs: Vec<(JobId, &str)> = batch.displaced.iter().map(job).collect();
    for displaced in displace(&mut *db, &jobs).await? {
        runners.extend(displaced.runner);
        ended.extend(displaced.ended);
    }
    Ok((runners, ended))
}

/// Makes the jobs of occurrences that are recorded.
pub(in crate::app) async fn make(
    db: &mut Connection,
    runs: &[(JobId, &Ready)],
    now: Instant,
) -> Result<Aftermath> {
    if runs.is_empty() {
        return Ok(Aftermath::default());
    }
    let actors: Vec<String> = runs.iter().map(|(_, ready)| ready.actor()).collect();
    let jobs: Vec<NewJob<'_>> = runs
        .iter()
        .zip(&actors)
        .map(|((job, ready), actor)| NewJob {
            id: *job,
            project: ProjectId(ready.row.project_id),
            spec: &ready.definition.job,
            request_hash: [0; 32],
            actor,
            needs: Vec::new(),
            // Its schedule is to hear how it ends.
            needed: true,
            trace: None,
            seen: None,
        })
        .collect();
    let inserted = insert::insert(&mut *db, &jobs, now).await?;
    let there: BTreeSet<JobId> = inserted.iter().map(|inserted| inserted.id).collect();
    let held: Vec<JobId> = jobs
        .iter()
        .map(|job| job.id)
        .filter(|id| !there.contains(id))
        .collect();
    if !held.is_empty() {
        occurrence::key_was_held(&mut *db, &held).await?;
    }
    let mut aftermath = Aftermath {
        jobs: inserted.len(),
        held: held.into_iter().collect(),
        ..Aftermath::default()
    };
    for job in &jobs {
        if let Some(inserted) = inserted.iter().find(|inserted| inserted.id == job.id) {
            aftermath.note(job, inserted);
        }
    }
    Ok(aftermath)
}

impl Aftermath {
    /// How many jobs were made.
    pub(in crate::app) fn made(&self) -> usize {
        self.jobs
    }

    /// Notes what was decided by what was recorded now, for metrics.
    fn decide(&mut self, records: &[Record], recorded: &HashSet<Recorded>) {
        for record in records {
            let key = Recorded {
                schedule: record.schedule,
                due_at: record.due_at,
                job: record.job,
            };
            if !recorded.contains(&key) {
                continue;
            }
            let count = u64::try_from(record.stands_for).unwrap_or_default();
            self.decided.push(match record.job {
                Some(job) if self.held.contains(&job) => ("skipped", "unique_key_held", 1),
                _ => (record.decision, record.reason, count),
            });
        }
    }

    fn note(&mut self, job: &NewJob<'_>, inserted: &Inserted) {
        if inserted.state == JobState::Available {
            self.queues.insert(job.spec.queue.clone());
        }
        if inserted.at_gate {
            let concurrency = job.spec.concurrency.as_ref();
            self.gates.insert(Gate {
                project: job.project,
                key: concurrency.map(|concurrency| concurrency.key.clone()),
            });
        }
    }

    /// Joins what is left of another batch of the same transaction.
    pub(in crate::app) fn join(&mut self, other: Self) {
        self.decided.extend(other.decided);
        self.jobs += other.jobs;
        self.held.extend(other.held);
        self.queues.extend(other.queues);
        self.gates.extend(other.gates);
        self.runners.extend(other.runners);
        self.ended.extend(other.ended);
    }

    /// Wakes runners and lets in what there is room for, where nothing else is left.
    pub(in crate::app) async fn follow_jobs(self, pool: &Pool, hints: &Hints) -> Result<()> {
        self.queues.iter().for_each(|queue| hints.work(queue));
        follow::admit_all(pool, hints, self.gates).await
    }

    /// Counts what was decided, wakes runners, and lets in what there is room for.
    pub(in crate::app) async fn follow(self, pool: &Pool, hints: &Hints) {
        for (decision, reason, count) in &self.decided {
            counted(decision, reason, *count);
        }
        self.queues.iter().for_each(|queue| hints.work(queue));
        let followed = async {
            if !self.runners.is_empty() {
                let runners: Vec<String> = self.runners.iter().map(ToString::to_string).collect();
                notify(pool, listen::CONTROL, &runners).await?;
            }
            follow::admit_all(pool, hints, self.gates).await?;
            if self.ended.is_empty() {
                return Ok(());
            }
            follow::follow(pool, hints, &self.ended).await
        };
        let followed: Result<()> = followed.await;
        if let Err(error) = followed {
            tracing::warn!(error = %error, "what follows from the runs that were made waits for the next tick");
        }
    }
}

/// What was decided, for metrics: what was not run, by how many runs it stands for.
pub(in crate::app) fn counted(decision: &str, reason: &'static str, count: u64) {
    match decision {
        "fired" => metrics::counter!("orchestrator_schedule_fired_total", "reason" => reason).increment(1),
        // Counted when it makes its job, or is given up.
        "waiting" => {}
        _ if count == 0 => {}
        _ if reason.starts_with("missed") => {
            metrics::counter!("orchestrator_schedule_missed_total", "reason" => reason).increment(count);
        }
        _ => metrics::counter!("orchestrator_schedule_skipped_total", "reason" => reason).increment(count),
    }
}

/// An occurrence that waited makes its job: nothing of its schedule is left to wait for.
pub(in crate::app) async fn fire_waiting(db: &mut Connection, schedule: ScheduleId) -> Result<Option<JobId>> {
    let job = JobId::generate();
    let reason = occurrence::fire_waiting(&mut *db, schedule, job).await?;
    if reason.is_some() {
        metrics::counter!("orchestrator_schedule_fired_total", "reason" => "waited").increment(1);
    }
    Ok(reason.map(|_| job))
}
