//! Queues, as operators see them.

use chrono::{DateTime, Utc};

use super::job::{Reach, reach};
use super::{Executor, Result};

/// A queue with work in it, or about which an operator said something.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Since when nothing of it is claimed.
    pub paused_at: Option<DateTime<Utc>>,
    /// Jobs a runner may claim now.
    pub available: i64,
    /// Jobs that run.
    pub running: i64,
    /// Jobs that wait for their time, for room, for other jobs or for somebody's approval.
    pub waiting: i64,
}

/// Every queue, by name, with the jobs of `projects` in it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn all(db: impl Executor<'_>, projects: Reach<'_>) -> Result<Vec<Queue>> {
    let projects = reach(projects);
    let queues = sqlx::query_as!(
        Queue,
        r#"
        with open as (
            select queue as name,
                   count(*) filter (where state = 'available') as available,
                   count(*) filter (where state = 'running') as running,
                   count(*) filter (where state in ('blocked', 'scheduled', 'awaiting_approval')) as waiting
              from job
             where state in ('blocked', 'scheduled', 'available', 'running', 'awaiting_approval')
               and ($1::uuid[] is null or project_id = any ($1))
             group by queue
        )
        select coalesce(open.name, queue.name) as "name!", queue.paused_at, coalesce(available, 0) as "available!",
               coalesce(running, 0) as "running!", coalesce(waiting, 0) as "waiting!"
          from open full join queue on queue.name = open.name
         where open.name is not null or queue.paused_at is not null
         order by 1
        "#,
        projects.as_deref(),
    )
    .fetch_all(db)
    .await?;
    Ok(queues)
}
