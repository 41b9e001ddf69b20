//! The entrance for other services' events.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::extract::{PathText, Raw};
use super::problem::{Kind, Problem};
use crate::app::receive::{self, Received, Request};
use crate::domain::clock;
use crate::domain::id::JobId;
use crate::domain::signature::Headers;
use crate::domain::trace::TraceParent;

/// What became of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct EventReceipt {
    /// `accepted`: its job is in the table. `ignored`: it makes none. `pong`: the answer to a ping.
    #[schema(example = "accepted", pattern = "^(accepted|ignored|pong)$")]
    status: &'static str,
    /// Its job; for a repeated delivery the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    /// Where to see what becomes of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        format = "uri-reference",
        example = "/jobs/01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10"
    )]
    status_url: Option<String>,
    /// Why it makes no job.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl EventReceipt {
    fn new(status: &'static str) -> Self {
        Self {
            status,
            job_id: None,
            status_url: None,
            reason: None,
        }
    }

    fn of_job(api: &Api, job: JobId) -> Self {
        Self {
            job_id: Some(job),
            status_url: Some(api.settings.link(&format!("/jobs/{job}"))),
            ..Self::new("accepted")
        }
    }
}

impl From<receive::Error> for Problem {
    fn from(error: receive::Error) -> Self {
        let said = error.to_string();
        match error {
            receive::Error::Unknown(_) => Self::new(Kind::NotFound, said),
            receive::Error::Signature(_) => Self::new(Kind::InvalidSignature, said)
                .with_header(header::WWW_AUTHENTICATE, r#"Signature realm="orchestrator""#),
            receive::Error::Paused => {
                Self::new(Kind::HookPaused, said).with_header(header::RETRY_AFTER, "3600")
            }
            receive::Error::Failed(wrong) => Self::listing(Kind::HookFailed, wrong),
            receive::Error::NoKey | receive::Error::Shut(_) => Self::new(
                Kind::NoSecretsKey,
                "the signature cannot be checked now; the operator finds the cause in the server's log",
            )
            .with_header(header::RETRY_AFTER, "60"),
            receive::Error::Store(error) => error.into(),
        }
    }
}

/// Receive an event
///
/// What other services call. The hook says who may, by a signature over the body as it is sent, which
/// events make a job, and which job. A 2xx answer is sent after the commit. The same delivery again is
/// answered with the first job and 200; whatever came is listed at `/api/v1/hooks/{name}/deliveries`.
#[utoipa::path(
    post,
    path = "/hooks/{name}",
    operation_id = "receiveEvent",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy")),
    request_body(content = Object, description = "The event, as its sender writes it; GitHub may also send it as a form",
        examples(("push" = (summary = "A push, as GitHub tells it", value = json!({"ref": "refs/heads/main", "after": "5f8d2a6", "deleted": false}))))),
    responses(
        (status = 202, description = "The job is in the table", body = EventReceipt),
        (status = 200, description = "The first job of the same delivery, or why there is none", body = EventReceipt),
    ),
    extensions(("x-problems" = json!(["invalid_signature", "not_found", "hook_failed", "hook_paused", "no_secrets_key"]))),
    security(()),
)]
pub(super) async fn receive(
    State(api): State<Api>,
    PathText(name): PathText,
    trace: Option<Extension<TraceParent>>,
    Raw { headers, body }: Raw,
) -> Result<(StatusCode, axum::Json<EventReceipt>), Problem> {
    let request = Request {
        name: &name,
        headers: &readable(&headers),
        body: &body,
        at: clock::now().timestamp(),
        trace: trace.map(|Extension(trace)| trace),
    };
    let received = receive::receive(&api.pool, &api.hints, api.keys.as_ref(), request).await?;
    let (status, receipt) = match received {
        Received::Accepted(job) => (StatusCode::ACCEPTED, EventReceipt::of_job(&api, job)),
        Received::Repeated(job) => (StatusCode::OK, EventReceipt::of_job(&api, job)),
        Received::Ping => (StatusCode::OK, EventReceipt::new("pong")),
        Received::Ignored(reason) => {
            let reason = Some(reason);
            let receipt = EventReceipt {
                reason,
                ..EventReceipt::new("ignored")
            };
            (StatusCode::OK, receipt)
        }
    };
    Ok((status, axum::Json(receipt)))
}

/// The headers as signatures read them. What is no text stays unequal to every text.
fn readable(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect()
}
