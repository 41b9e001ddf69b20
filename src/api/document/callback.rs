//! What goes out: the callback, as the section `webhooks` of the document has it. Its body is written by
//! the database with the end of the job (`tell_job_end` in the migrations); a test compares the two.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, PathItem, Paths, PathsBuilder, Ref, Required};

use crate::domain::id::JobId;
use crate::domain::job::{Code, JobState};

/// The end of a job, told to its `callback_url`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "type": "job.failed", "timestamp": "2030-01-01T02:00:03.250000Z",
    "data": {
        "job_id": "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10", "project_id": "demo", "state": "failed", "code": "exit_nonzero",
        "message": "The program ended with code 2.", "goal": "Build and test", "idempotency_key": "build-4711",
        "tags": [], "metadata": {"commit": "5f8d2a6"}, "attempt": 1, "created_at": "2030-01-01T02:00:00.000000Z",
        "started_at": "2030-01-01T02:00:00.120000Z", "finished_at": "2030-01-01T02:00:03.250000Z"
    }
}))]
pub(super) struct Callback {
    /// `job.succeeded`, `job.failed` or `job.cancelled`.
    #[serde(rename = "type")]
    #[schema(pattern = "^job\\.(succeeded|failed|cancelled)$")]
    kind: String,
    /// When the job ended.
    timestamp: DateTime<Utc>,
    data: JobEnd,
}

/// How a job ended.
#[derive(Serialize, ToSchema)]
pub(super) struct JobEnd {
    job_id: JobId,
    /// Alias of the project it belongs to.
    project_id: String,
    /// `succeeded`, `failed` or `cancelled`.
    state: JobState,
    /// Why it failed or was cancelled.
    code: Option<Code>,
    /// The same as a sentence.
    message: Option<String>,
    /// What it was for.
    goal: String,
    /// The key it was asked for with.
    idempotency_key: Option<String>,
    tags: Vec<String>,
    /// What the caller wanted to keep with the job; null when it is longer than 16 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// How often it was claimed.
    #[schema(minimum = 0)]
    attempt: i32,
    created_at: DateTime<Utc>,
    /// When it was first claimed, if it was.
    started_at: Option<DateTime<Utc>>,
    finished_at: DateTime<Utc>,
}

const DESCRIPTION: &str = "Sent once a job with a `callback_url` has ended, also when it is retried and ends again, and \
    signed by Standard Webhooks (https://www.standardwebhooks.com) with the secret of its project. Answer with any 2xx \
    within the time-out; redirects are not followed. Anything else is tried again for a day, with waits that double \
    from 10 s to an hour; `Retry-After` of a 429 or 503 is honoured, and 410 ends it. The same callback may arrive more \
    than once: `webhook-id` tells.";

/// Every request this program makes on behalf of others: there is one.
pub(super) fn webhooks() -> Paths {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Callback")))
        .build();
    let operation = OperationBuilder::new()
        .operation_id(Some("jobEnded"))
        .tag("hooks")
        .summary(Some("A job has ended"))
        .description(Some(DESCRIPTION))
        .parameter(header("webhook-id", "Identifies the callback, also when it is sent again", json!("01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e11")))
        .parameter(header("webhook-timestamp", "When it was sent, in seconds since 1970", json!("1893463203")))
        .parameter(header(
            "webhook-signature",
            "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64; one for each secret, separated by spaces, while one replaces another",
            json!("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ))
        .request_body(Some(
            RequestBodyBuilder::new()
                .description(Some("How the job ended"))
                .content("application/json", body)
                .required(Some(Required::True))
                .build(),
        ))
        // Whoever receives it asks for no token: the signature says who sends it.
        .security(SecurityRequirement::default())
        .response("2XX", Response::new("The callback has arrived; a body is not read"))
        .response("410", Response::new("The receiver wants no more of it; it is not tried again"))
        .build();
    PathsBuilder::new()
        .path("jobEnded", PathItem::new(HttpMethod::Post, operation))
        .build()
}

fn header(name: &str, description: &str, example: Value) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(example))
}
