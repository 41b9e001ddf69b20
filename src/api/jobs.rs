//! Jobs: put in, listed, shown.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::{Allowed, Read, Submitter};
use super::extract::{IdempotencyKey, Json, PathId, no_such_job};
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use super::{Api, auth};
use crate::app::authenticate::Caller;
use crate::app::submit::{self, Accepted, submit_with_others};
use crate::domain::id::{JobId, ProjectId, RunnerId};
use crate::domain::job::{Code, JobState};
use crate::domain::name::is_name;
use crate::domain::spec::JobSpec;
use crate::domain::token::Scope;
use crate::store;

/// A job in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct JobSummary {
    id: JobId,
    /// Alias of the project it belongs to.
    #[schema(example = "demo")]
    project_id: String,
    /// Whether its steps run in a sandbox, where their host has one; `false`: an administrator has turned it off for the
    /// project.
    sandbox: bool,
    /// What it is for.
    #[schema(example = "Build and test")]
    goal: String,
    /// Words to find it by.
    #[schema(example = json!(["nightly"]))]
    tags: Vec<String>,
    /// The queue it waits or waited in.
    #[schema(example = "default")]
    queue: String,
    state: JobState,
    /// Higher goes first within its queue.
    #[schema(minimum = -100, maximum = 100, example = 0)]
    priority: i16,
    /// Not before this time.
    run_at: DateTime<Utc>,
    /// How often it was claimed.
    #[schema(minimum = 0, example = 1)]
    attempt: i32,
    /// How many runners vanished with it.
    #[schema(minimum = 0)]
    losses: i16,
    /// How many may, before it fails with the code `lost`.
    #[schema(minimum = 1, maximum = 100, example = 3)]
    max_attempts: i16,
    /// Index of the step that runs, or runs next.
    #[schema(minimum = 0)]
    step_position: i16,
    /// The runner session that holds it.
    runner_id: Option<RunnerId>,
    /// What it waits for although it is due: room under its concurrency `key`, or in its `project`.
    #[schema(example = "key")]
    gate: Option<String>,
    /// When somebody asked for it to be cancelled; a job that runs then ends when its step has.
    cancel_asked_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When it was first claimed.
    #[schema(example = "2030-01-01T02:00:00Z")]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(example = "2030-01-01T02:00:03Z")]
    finished_at: Option<DateTime<Utc>>,
    /// Why it failed or was cancelled.
    code: Option<Code>,
    /// The same as a sentence.
    message: Option<String>,
}

/// A job with what was asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct Job {
    #[serde(flatten)]
    summary: JobSummary,
    /// The specification as it was accepted, defaults filled in.
    #[schema(value_type = JobSpec)]
    spec: Value,
}

impl From<store::job::Job> for JobSummary {
    fn from(job: store::job::Job) -> Self {
        Self {
            id: job.id,
            project_id: job.project_alias,
            sandbox: job.sandbox,
            goal: job.goal,
            tags: job.tags,
            queue: job.queue,
            state: job.state,
            priority: job.priority,
            run_at: job.run_at,
            attempt: job.attempt,
            losses: job.losses,
            max_attempts: job.max_attempts,
            step_position: job.step_position,
            runner_id: job.runner,
            gate: job.gate,
            cancel_asked_at: job.cancel_asked_at,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            code: job.code,
            message: job.message,
        }
    }
}

impl From<submit::Error> for Problem {
    fn from(error: submit::Error) -> Self {
        match error {
            submit::Error::Invalid(errors) => Self::body(errors),
            submit::Error::Scope => auth::lacking(Scope::Submit),
            error @ submit::Error::Project(_) => Self::new(Kind::ProjectForbidden, error.to_string()),
            error @ submit::Error::KeyReused { .. } => {
                Self::new(Kind::IdempotencyKeyReused, error.to_string())
            }
            error @ submit::Error::KeyVanished => {
                Self::new(Kind::Conflict, error.to_string()).with_header(header::RETRY_AFTER, "0")
            }
            submit::Error::Store(error) => error.into(),
            submit::Error::Together(error) => (&*error).into(),
            submit::Error::Outdated | submit::Error::Lost => Self::internal(),
        }
    }
}

/// Reads a specification and puts the job in; what both entrances share.
pub(super) async fn accept(
    api: &Api,
    submitter: &Submitter,
    key: Result<IdempotencyKey, Problem>,
    body: Result<Json, Problem>,
) -> Result<Accepted, Problem> {
    let asked = match (key, body) {
        (Ok(IdempotencyKey(key)), Ok(Json(body))) => read(key.clone(), &body).map(|spec| (spec, key, body)),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    let (spec, key, body) = match asked {
        Ok(asked) => asked,
        Err(problem) => {
            // Who is nobody any more hears that, and not what is wrong with the request.
            submitter.looked_up(api).await?;
            return Err(problem);
        }
    };
    let submit = |caller, spec| submit_with_others(&api.pool, &api.hints, &api.together, caller, spec);
    match submit(&submitter.caller, spec).await {
        Err(submit::Error::Outdated) => {
            let caller = submitter.looked_up(api).await?;
            Ok(submit(&caller, read(key, &body)?).await?)
        }
        accepted => Ok(accepted?),
    }
}

/// The specification, under the key of the body or of the header.
fn read(key: Option<String>, body: &[u8]) -> Result<JobSpec, Problem> {
    let mut spec = JobSpec::read(body).map_err(Problem::body)?;
    if key.is_some() {
        if spec.idempotency_key.is_some() && spec.idempotency_key != key {
            return Err(Problem::parameter(
                "Idempotency-Key",
                "is not the body's idempotency_key; send one of the two",
            ));
        }
        spec.idempotency_key = key;
    }
    Ok(spec)
}

/// A job that is in the table.
#[derive(Serialize, ToSchema)]
pub(super) struct Submitted {
    id: JobId,
    /// Whether it was accepted before, under the same idempotency key.
    repeated: bool,
    /// Where to see what becomes of it.
    #[schema(
        format = "uri-reference",
        example = "/api/v1/jobs/01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10"
    )]
    url: String,
}

/// Submit a job
///
/// Puts a job into its queue. The answer is sent after the commit: a job that was answered for is
/// not lost. Under an idempotency key (in the body or the header) a repeat within the project is
/// answered with the first job and 200.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(IdempotencyKey),
    request_body(content = JobSpec, description = "What is to be done", examples(
        ("commands" = (summary = "Two commands, one after the other", value = json!({"goal": "Build and test", "project_id": "demo", "steps": [{"step_id": "build", "argv": ["make"]}, {"step_id": "test", "argv": ["make", "test"], "timeout_sec": 300}]}))),
        ("later" = (summary = "One command, not before a time, once per key", value = json!({"goal": "Nightly report", "project_id": "demo", "idempotency_key": "report-2030-01-01", "run_at": "2030-01-01T02:00:00Z", "steps": [{"step_id": "report", "argv": ["./report.sh"]}]}))),
    )),
    responses(
        (status = 201, description = "The job is in the table", body = Submitted, headers(("Location" = String, description = "Where the job is"))),
        (status = 200, description = "The first job under the same idempotency key", body = Submitted, headers(("Location" = String, description = "Where the job is"))),
    ),
    security(("bearer" = ["submit"])),
    extensions(("x-problems" = json!(["project_forbidden"]))),
)]
pub(super) async fn submit(
    State(api): State<Api>,
    submitter: Submitter,
    key: Result<IdempotencyKey, Problem>,
    body: Result<Json, Problem>,
) -> Result<Response, Problem> {
    let accepted = accept(&api, &submitter, key, body).await?;
    let url = api.settings.link(&format!("/api/v1/jobs/{}", accepted.job));
    let status = match accepted.repeated {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    let location = [(header::LOCATION, url.clone())];
    let submitted = Submitted {
        id: accepted.job,
        repeated: accepted.repeated,
        url,
    };
    Ok((status, location, axum::Json(submitted)).into_response())
}

/// Which jobs a list shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only jobs of the project with this alias.
    #[param(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    project: Option<String>,
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Only jobs of this queue.
    #[param(example = "default", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    queue: Option<String>,
    /// Only jobs with this tag.
    #[param(example = "nightly", min_length = 1, max_length = 64)]
    tag: Option<String>,
    /// Only jobs that ended for this reason.
    #[param(inline)]
    code: Option<Code>,
    /// Only jobs accepted at this time or later (RFC 3339).
    created_after: Option<DateTime<Utc>>,
    /// Only jobs accepted before this time (RFC 3339).
    created_before: Option<DateTime<Utc>>,
}

impl Filter {
    /// What cannot be a queue's name or a tag is a mistake, and not a list of nothing.
    fn check(&self) -> Result<(), Problem> {
        if self.queue.as_deref().is_some_and(|queue| !is_name(queue)) {
            return Err(Problem::parameter("queue", "is no name that a queue can have"));
        }
        let length = self.tag.as_ref().map(|tag| tag.chars().count());
        match length {
            None | Some(1..=64) => Ok(()),
            Some(_) => Err(Problem::parameter("tag", "must be 1 to 64 characters")),
        }
    }
}

/// List jobs
///
/// The jobs of the token's projects, newest first, a page at a time. A page costs the same wherever
/// it is, and a job that comes in meanwhile moves none from one page to another. With filters
/// a page may hold fewer jobs than asked for, or none, and still name the next.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(Filter, Pages),
    responses((status = 200, description = "A page of jobs", body = Listing<JobSummary>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    let query = &asked.filter;
    query.check()?;
    let projects = within(&api, &caller, query.project.as_deref()).await?;
    let filter = store::job::Filter {
        projects: projects.as_deref(),
        state: query.state,
        queue: query.queue.as_deref(),
        tag: query.tag.as_deref(),
        code: query.code,
        created_after: query.created_after,
        created_before: query.created_before,
    };
    let page = store::job::page(&api.pool, filter, asked.after, asked.limit).await?;
    Ok(asked.answer::<_, JobSummary>(page, &api.settings))
}

/// The projects that a list shows: the one it is asked for, or all that the caller reaches; `None` is
/// every project.
pub(super) async fn within(
    api: &Api,
    caller: &Caller,
    alias: Option<&str>,
) -> Result<Option<Vec<ProjectId>>, Problem> {
    match alias {
        Some(alias) => Ok(Some(vec![reachable(api, caller, alias).await?])),
        None => Ok(caller.projects.clone()),
    }
}

/// The project of that alias. Whether another caller has one of that name is not told.
pub(super) async fn reachable(api: &Api, caller: &Caller, alias: &str) -> Result<ProjectId, Problem> {
    store::project::by_alias(&api.pool, alias)
        .await?
        .map(|project| project.id)
        .filter(|id| caller.reaches(*id))
        .ok_or_else(|| {
            let message = format!("this token reaches no project named {alias:?}");
            Problem::parameter("project", message)
        })
}

/// Show a job
///
/// The job, where it is in its life, and what was asked for.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(("id" = JobId, Path, description = "The job")),
    responses((status = 200, description = "The job", body = Job)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<Job>, Problem> {
    let found = store::job::find(&api.pool, id, caller.projects.as_deref()).await?;
    found
        .map(|(job, spec)| {
            let summary = job.into();
            axum::Json(Job { summary, spec })
        })
        .ok_or_else(|| no_such_job(id))
}
