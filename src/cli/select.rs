//! Which jobs: those that match all that is said of them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clap::Args;

use super::{database, values};
use crate::domain::id::{JobId, ProjectId};
use crate::domain::job::{Code, JobState};
use crate::domain::page::{Cursor, MAX_LIMIT};
use crate::store::Pool;
use crate::store::job::{Filter, Job, page};

/// What is said of jobs.
#[derive(Args, Debug)]
pub(super) struct Selection {
    /// Only those of this project
    #[arg(long, value_name = "ALIAS")]
    project: Option<String>,
    /// Only those in this state, as running, awaiting_approval or failed
    #[arg(long, value_name = "STATE", hide_possible_values = true, value_parser = values::word::<JobState>())]
    pub(super) state: Option<JobState>,
    /// Only those of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only those that ended for this reason, as timeout or exit_nonzero
    #[arg(long, value_name = "CODE", hide_possible_values = true, value_parser = values::word::<Code>())]
    pub(super) code: Option<Code>,
    /// Only those accepted at this time or later, as 2030-01-01T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    since: Option<DateTime<Utc>>,
    /// Only those accepted before this time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    until: Option<DateTime<Utc>>,
}

impl Selection {
    /// Up to `limit` of them, the newest first, that were accepted before the job `after`.
    ///
    /// # Errors
    ///
    /// When there is no such project, or PostgreSQL is away.
    pub(super) async fn jobs(
        &self,
        pool: &Pool,
        after: Option<JobId>,
        limit: usize,
    ) -> anyhow::Result<Vec<Job>> {
        let project = self.project(pool).await?;
        let filter = self.filter(project.as_ref(), self.state);
        let (mut jobs, mut after) = (Vec::new(), after.map(|job| Cursor(job.0)));
        // A page may hold fewer than are asked for although there are more.
        while let left @ 1.. = limit.saturating_sub(jobs.len()) {
            let most = u16::try_from(left).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
            let found = page(pool, filter, after, most).await?;
            jobs.extend(found.items);
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        Ok(jobs)
    }

    /// The ids of all that are in one of `states`, whatever state is said.
    ///
    /// # Errors
    ///
    /// As [`Self::jobs`].
    pub(super) async fn all(&self, pool: &Pool, states: &[JobState]) -> anyhow::Result<BTreeSet<JobId>> {
        let project = self.project(pool).await?;
        let mut ids = BTreeSet::new();
        for state in states {
            let filter = self.filter(project.as_ref(), Some(*state));
            let mut after = None;
            loop {
                let found = page(pool, filter, after, MAX_LIMIT).await?;
                ids.extend(found.items.iter().map(|job| job.id));
                after = found.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(ids)
    }

    async fn project(&self, pool: &Pool) -> anyhow::Result<Option<ProjectId>> {
        Ok(match &self.project {
            Some(alias) => Some(database::project(pool, alias).await?),
            None => None,
        })
    }

    fn filter<'a>(&'a self, project: Option<&'a ProjectId>, state: Option<JobState>) -> Filter<'a> {
        Filter {
            projects: project.map(std::slice::from_ref),
            state,
            queue: self.queue.as_deref(),
            tag: self.tag.as_deref(),
            code: self.code,
            created_after: self.since,
            created_before: self.until,
        }
    }
}
