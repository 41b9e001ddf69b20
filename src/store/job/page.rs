//! Pages of jobs, each along the one index that leads to what is asked for.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Job, Reach, job, reach};
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};
use crate::domain::page::{Cursor, Page};
use crate::store::named::Named;
use crate::store::{Pool, Result};

/// Which jobs a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of these projects.
    pub projects: Reach<'a>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this queue.
    pub queue: Option<&'a str>,
    /// Only with this tag.
    pub tag: Option<&'a str>,
    /// Only ended for this reason.
    pub code: Option<Code>,
    /// Only accepted then or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only accepted before.
    pub created_before: Option<DateTime<Utc>>,
}

/// What jobs are looked at along: each is an index in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    /// All jobs, or all of a state.
    Jobs,
    /// The jobs of some projects.
    Projects,
    /// The jobs of a queue.
    Queue,
    /// The jobs with a tag.
    Tag,
}

impl Filter<'_> {
    fn along(&self) -> Along {
        match (self.tag, self.queue, self.projects) {
            (Some(_), _, _) => Along::Tag,
            (None, Some(_), _) => Along::Queue,
            (None, None, Some(_)) => Along::Projects,
            (None, None, None) => Along::Jobs,
        }
    }

    /// How many jobs are looked at for a page. Where the index leads to more than is asked for, some are passed over.
    fn window(&self, limit: u16) -> i64 {
        let along = self.along();
        let passes_over = self.code.is_some()
            || (self.state.is_some() && along != Along::Jobs)
            || (self.projects.is_some() && along != Along::Projects)
            || (self.queue.is_some() && along != Along::Queue);
        match passes_over {
            true => WINDOW,
            false => i64::from(limit) + 1,
        }
    }
}

/// Most jobs that are looked at for one page.
const WINDOW: i64 = 2_000;

/// The first id that a job of this instant, or a later one, can have: ids begin with their milliseconds.
fn first_id(at: DateTime<Utc>) -> Uuid {
    let milliseconds = at.timestamp_millis().clamp(0, (1 << 48) - 1).unsigned_abs();
    Uuid::from_u128(u128::from(milliseconds) << 80)
}

/// Asks `$before`, for the ids to look at in their order, `$after`.
macro_rules! ask {
    ($how:ident, $along:expr, $before:literal, $after:literal, $($argument:expr),+) => {
        match $along {
            Along::Jobs => ask!(@ $how, $before,
                "(select id, state from job) as looked where ($2::text is null or state = $2::text::job_state)",
                $after, $($argument),+),
            // A page of each project: no index is in the order of the ids of several.
            Along::Projects => ask!(@ $how, $before,
                "unnest($1::uuid[]) as reached (project_id) cross join lateral (
                    select id from job
                     where job.project_id = reached.project_id
                       and ($3::uuid is null or id < $3) and ($4::uuid is null or id >= $4) and ($5::uuid is null or id < $5)
                     order by id desc limit $6) as looked where true",
                $after, $($argument),+),
            Along::Queue => ask!(@ $how, $before,
                "(select job_id as id, spec from job_spec) as looked where spec ->> 'queue' = $7",
                $after, $($argument),+),
            Along::Tag => ask!(@ $how, $before,
                "(select job_id as id, tag from job_tag) as looked where tag = $8",
                $after, $($argument),+),
        }
    };
    (@ page, $before:literal, $from:literal, $after:literal, $db:expr, $($argument:expr),+) => {{
        let rows = ask!(@ query, $before, $from, $after, $($argument),+).fetch_all($db).await?;
        rows.into_iter().map(|row| job!(row)).collect::<Vec<Job>>()
    }};
    (@ edge, $before:literal, $from:literal, $after:literal, $db:expr, $($argument:expr),+) => {
        ask!(@ query_scalar, $before, $from, $after, $($argument),+).fetch_optional($db).await?
    };
    (@ $macro:ident, $before:literal, $from:literal, $after:literal, $($argument:expr),+) => {
        // What one of the places does not ask for is named all the same, so that all take the same parameters.
        sqlx::$macro!($before + $from + r#"
            and ($3::uuid is null or looked.id < $3) and ($4::uuid is null or looked.id >= $4)
            and ($5::uuid is null or looked.id < $5)
            and ($1::uuid[] is null or true) and ($2::text is null or true) and ($7::text is null or true) and ($8::text is null or true)
          order by looked.id desc "# + $after, $($argument),+)
    };
}

/// Jobs, newest first, a page at a time. A page may hold fewer than asked for, or none, although there
/// are more: `next` says where to look on.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn page(pool: &Pool, filter: Filter<'_>, after: Option<Cursor>, limit: u16) -> Result<Page<Job>> {
    let projects = reach(filter.projects);
    let along = filter.along();
    let window = filter.window(limit);
    // The ids are read first, and for each its job, until the page is full: lateral, or the planner may read all jobs
    // for what it takes for a large window. Then the few rows are joined.
    let jobs = ask!(
        page,
        along,
        "with picked as materialized (
            select job.* from (select looked.id from ",
        r#"limit $6) as looked
             cross join lateral (
                select * from job
                 where job.id = looked.id
                   and ($1::uuid[] is null or project_id = any ($1))
                   and ($11::text is null or state = $11::text::job_state)
                   and ($7::text is null or queue = $7)
                   and ($9::text is null or code = $9)
                offset 0) as job
             order by looked.id desc limit $10
        )
        select picked.id as "id!", picked.project_id as "project_id!", project.alias, picked.queue as "queue!",
               picked.state as "state!: Named<JobState>", picked.priority as "priority!", picked.run_at as "run_at!",
               picked.attempt as "attempt!", picked.losses as "losses!", picked.max_attempts as "max_attempts!",
               picked.step_position as "step_position!", picked.runner_id, picked.created_at as "created_at!",
               picked.started_at, picked.finished_at, picked.code as "code: Named<Code>", picked.message, job_spec.spec, project.sandbox
          from picked join project on project.id = picked.project_id join job_spec on job_spec.job_id = picked.id
         order by picked.id desc"#,
        pool,
        projects.as_deref(),
        filter.state.map(JobState::as_str),
        after.map(|cursor| cursor.0),
        filter.created_after.map(first_id),
        filter.created_before.map(first_id),
        window,
        filter.queue,
        filter.tag,
        filter.code.map(Code::as_str),
        i64::from(limit) + 1,
        filter.state.map(JobState::as_str)
    );
    let mut page = Page::cut(jobs, usize::from(limit), |job| job.id.0);
    if page.next.is_none() && window == WINDOW {
        // The last job that was looked at, when there may be more behind it.
        let edge: Option<Uuid> = ask!(
            edge,
            along,
            r#"select looked.id as "id!" from "#,
            "limit 1 offset $6::bigint - 1",
            pool,
            projects.as_deref(),
            filter.state.map(JobState::as_str),
            after.map(|cursor| cursor.0),
            filter.created_after.map(first_id),
            filter.created_before.map(first_id),
            window,
            filter.queue,
            filter.tag
        );
        page.next = edge.map(Cursor);
    }
    Ok(page)
}
