//! Pages of jobs, each along the one index that leads to what is asked for.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Job, Reach, job, reach, words};
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};
use crate::domain::page::{Cursor, MAX_LIMIT, Page};
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
    /// All jobs.
    Jobs,
    /// The jobs in a state in which only few are.
    State,
    /// The jobs of a project.
    Project,
    /// The jobs of several projects.
    Projects,
    /// The jobs of a queue.
    Queue,
    /// The jobs with a tag.
    Tag,
}

impl Filter<'_> {
    fn along(&self) -> Along {
        match (self.tag, self.queue, self.projects, self.state) {
            (Some(_), ..) => Along::Tag,
            (None, Some(_), ..) => Along::Queue,
            (None, None, Some([_]), _) => Along::Project,
            (None, None, Some(_), _) => Along::Projects,
            (None, None, None, None | Some(JobState::Succeeded)) => Along::Jobs,
            (None, None, None, Some(_)) => Along::State,
        }
    }

    /// Whether the index leads to jobs that are not asked for.
    fn passes_over(&self) -> bool {
        let along = self.along();
        self.code.is_some()
            || self.created_after.is_some()
            || (self.state.is_some() && along != Along::State)
            || (self.projects.is_some() && !matches!(along, Along::Project | Along::Projects))
            || (self.queue.is_some() && along != Along::Queue)
    }
}

/// Most jobs that are looked at for one page. The statements have it as a literal.
const WINDOW: i64 = 1_000;
const _: () = assert!(MAX_LIMIT + 1 == 501, "the longest page, as statements have it");

/// The first id that a job of this instant, or a later one, can have: ids begin with their milliseconds.
fn first_id(at: DateTime<Utc>) -> Uuid {
    let milliseconds = at.timestamp_millis().clamp(0, (1 << 48) - 1).unsigned_abs();
    Uuid::from_u128(u128::from(milliseconds) << 80)
}

/// Reads a page, or where its window ends, along what leads to it: from the jobs themselves, or from ids that lead to them.
///
/// Each place has a statement of its own that always has the same plan, whatever is asked for: one bound, which is always
/// there, a window that is a literal, and conditions that the planner takes to let as much through with a value as without
/// (`coalesce`; of `is null or` it thinks that nothing is left). PostgreSQL then plans it once for a connection instead
/// of for every page, which takes longer than to read the page.
macro_rules! ask {
    ($how:ident, $along:expr, $passes_over:expr, $($rest:tt)+) => {
        match $along {
            Along::Jobs => ask!(@jobs $how, "job where true", $($rest)+),
            // Said twice, so that the index is taken whatever state is asked for.
            Along::State => ask!(@jobs $how, "job where state = $2::text::job_state and state <> 'succeeded'", $($rest)+),
            // A window of each project: no index is in the order of the ids of several.
            Along::Projects => ask!(@ids $how,
                "(select one.id from unnest($1::uuid[]) as reached (project_id) cross join lateral (
                    select job_id as id from job_spec where job_spec.of_project = reached.project_id and job_id < $3 and job_id >= $4
                     order by job_id desc limit $5) as one) as job where true", "1000", $($rest)+),
            // As far as the longest page goes: for a larger window it would be planned anew.
            Along::Project if !$passes_over => ask!(@ids $how,
                "(select job_id as id, of_project from job_spec) as job where of_project = ($1::uuid[])[1]", "501", $($rest)+),
            Along::Project => ask!(@ids $how,
                "(select job_id as id, of_project from job_spec) as job where of_project = ($1::uuid[])[1]", "1000", $($rest)+),
            Along::Queue if !$passes_over => ask!(@ids $how,
                "(select job_id as id, spec from job_spec) as job where spec ->> 'queue' = $6", "501", $($rest)+),
            Along::Queue => ask!(@ids $how,
                "(select job_id as id, spec from job_spec) as job where spec ->> 'queue' = $6", "1000", $($rest)+),
            Along::Tag if !$passes_over => ask!(@ids $how,
                "(select job_id as id, tag from job_tag) as job where tag = $7", "501", $($rest)+),
            Along::Tag => ask!(@ids $how,
                "(select job_id as id, tag from job_tag) as job where tag = $7", "1000", $($rest)+),
        }
    };
    (@jobs page, $from:literal, $($rest:tt)+) => {
        ask!(@page "select job.*, job.id as place from ", $from, "1000", "", $($rest)+)
    };
    (@ids page, $from:literal, $window:literal, $($rest:tt)+) => {
        ask!(@page "select job.*, looked.id as place from (select job.id from ", $from, $window,
             ") as looked cross join lateral (select * from job where job.id = looked.id offset 0) as job", $($rest)+)
    };
    (@page $before:literal, $from:literal, $window:literal, $after:literal, $db:expr, $($argument:expr),+) => {{
        // What one of the places does not ask for is named all the same, so that all take the same parameters.
        let rows = sqlx::query!(r#"
            select picked.id as "id!", picked.project_id as "project_id!", project.alias, picked.queue as "queue!",
                   picked.state as "state!: Named<JobState>", picked.priority as "priority!", picked.run_at as "run_at!",
                   picked.attempt as "attempt!", picked.losses as "losses!", picked.max_attempts as "max_attempts!",
                   picked.step_position as "step_position!", picked.runner_id, picked.gate, picked.cancel_asked_at, picked.created_at as "created_at!",
                   picked.started_at, picked.finished_at, picked.code as "code: Named<Code>", picked.message,
                   coalesce(job_spec.spec ->> 'goal', '') as "goal!",
                   coalesce(job_spec.spec -> 'tags', '[]') as "tags!: Json<Value>", project.sandbox
              from (select looked.* from ("# + $before + $from + "
                            and job.id < $3 and ($5::bigint is null or true) and ($7::text is null or true)
                          order by job.id desc limit " + $window + $after + ") as looked
                     where place >= $4
                       and coalesce(project_id = any ($1), true)
                       and coalesce(state = $2::text::job_state, true)
                       and coalesce(queue = $6, true)
                       and coalesce(code = $8, $8 is null)
                     order by looked.place desc limit $9) as picked
              join project on project.id = picked.project_id join job_spec on job_spec.job_id = picked.id
             order by picked.place desc", $($argument),+).fetch_all($db).await?;
        rows.into_iter().map(|row| job!(row)).collect::<Vec<Job>>()
    }};
    (@ids edge, $from:literal, $window:literal, $($rest:tt)+) => {
        ask!(@jobs edge, $from, $($rest)+)
    };
    (@jobs edge, $from:literal, $db:expr, $($argument:expr),+) => {
        sqlx::query_scalar!(r#"select job.id as "id!" from "# + $from + "
                and job.id < $3 and job.id >= $4 and ($1::uuid[] is null or true) and ($2::text is null or true)
                and ($5::bigint is null or true) and ($6::text is null or true) and ($7::text is null or true)
              order by job.id desc limit 1 offset 1000 - 1", $($argument),+).fetch_optional($db).await?
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
    let state = filter.state.map(JobState::as_str);
    let before = [after.map(|cursor| cursor.0), filter.created_before.map(first_id)];
    let before = before.into_iter().flatten().min().unwrap_or(Uuid::max());
    let from = filter.created_after.map_or(Uuid::nil(), first_id);
    let wanted = i64::from(limit) + 1;
    let passes_over = filter.passes_over();
    let window = if passes_over { WINDOW } else { wanted };
    let jobs = ask!(
        page,
        along,
        passes_over,
        pool,
        projects.as_deref(),
        state,
        before,
        from,
        window,
        filter.queue,
        filter.tag,
        filter.code.map(Code::as_str),
        wanted
    );
    let mut page = Page::cut(jobs, usize::from(limit), |job| job.id.0);
    if page.next.is_none() && passes_over {
        // The last job that was looked at, when there may be more behind it.
        let edge: Option<Uuid> = ask!(
            edge,
            along,
            passes_over,
            pool,
            projects.as_deref(),
            state,
            before,
            from,
            WINDOW,
            filter.queue,
            filter.tag
        );
        // Not before what is on this page, also when others came in since it was read.
        let last = page.items.last().map(|job| job.id.0);
        page.next = edge.map(|edge| Cursor(last.map_or(edge, |last| edge.min(last))));
    }
    Ok(page)
}
