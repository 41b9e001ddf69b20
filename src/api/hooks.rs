//! Hooks: made, looked at, changed, given another secret, deleted.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Admin, Allowed, Read};
use super::etag::{self, IfMatch, Tagged};
use super::extract::{Json, PathText};
use super::idempotency::KeepInstead;
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use crate::app::hooks::{self, Error, Kept};
use crate::domain::hook::{Filter, HookSpec, Options};
use crate::domain::id::HookId;
use crate::domain::page::Page;
use crate::domain::problem::{Violation, read_json};
use crate::domain::seal::NoKey;
use crate::domain::signature::Provider;
use crate::store;

/// Longest time that two secrets hold, in seconds.
const LONGEST_OVERLAP: u32 = 30 * 86400;

/// A hook, as it is kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Hook {
    id: HookId,
    #[schema(example = "deploy")]
    name: String,
    /// Where its sender sends to.
    #[schema(format = "uri-reference", example = "/hooks/deploy")]
    url: String,
    /// Alias of the project its jobs belong to.
    #[schema(example = "demo")]
    project_id: String,
    provider: Provider,
    /// Whether events are taken in.
    enabled: bool,
    options: Options,
    filter: Filter,
    /// The job it makes.
    #[schema(value_type = Object)]
    template: Map<String, Value>,
    /// Until when the secret before this one is taken as well.
    old_secret_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Hook {
    fn of(api: &Api, hook: store::hook::Hook) -> Self {
        let HookSpec {
            name,
            project_id,
            provider,
            enabled,
            options,
            filter,
            template,
            secret: _,
        } = hook.spec;
        Self {
            id: hook.id,
            url: api.settings.link(&format!("/hooks/{name}")),
            name,
            project_id,
            provider,
            enabled,
            options,
            filter,
            template,
            old_secret_until: hook.old_secret_until,
            created_at: hook.created_at,
            updated_at: hook.updated_at,
        }
    }
}

/// A hook and its new secret.
#[derive(Serialize, ToSchema)]
pub(super) struct HookWithSecret {
    hook: Hook,
    /// The secret, when this server made it: it is shown now and never again.
    #[schema(example = "6f1d0c9a5e…")]
    secret: Option<String>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::Invalid(wrong) => Self::body(wrong),
            Error::Unknown(_) => Self::new(Kind::NotFound, said),
            Error::Taken(_) => Self::new(Kind::AlreadyExists, said),
            Error::Changed => etag::changed(),
            Error::NoKey(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

impl From<NoKey> for Problem {
    fn from(error: NoKey) -> Self {
        Self::new(Kind::NoSecretsKey, error.to_string()).with_header(header::RETRY_AFTER, "60")
    }
}

/// Shows a secret once. A repeat under the same idempotency key is answered without it.
fn with_secret(api: &Api, status: StatusCode, kept: Kept) -> Response {
    let version = kept.hook.updated_at;
    let path = format!("/api/v1/hooks/{}", kept.hook.spec.name);
    let location = [(header::LOCATION, api.settings.link(&path))];
    let mut body = HookWithSecret {
        hook: Hook::of(api, kept.hook),
        secret: None,
    };
    let without = serde_json::to_vec(&body).unwrap_or_default();
    body.secret = kept.secret.map(|secret| secret.expose_secret().to_owned());
    let mut response = (status, location, Tagged { version, body }).into_response();
    response
        .extensions_mut()
        .insert(KeepInstead(Bytes::from(without)));
    response
}

/// Make a hook
///
/// From then on its sender may send events to `/hooks/{name}`. Without a secret in the request one is
/// made; it is shown in this answer and never again.
#[utoipa::path(
    post,
    path = "/api/v1/hooks",
    operation_id = "createHook",
    tag = "hooks",
    request_body(content = HookSpec, description = "The hook", examples(
        ("github" = (summary = "Deploy when GitHub tells of a push to main", value = json!({
            "name": "deploy", "project_id": "demo", "provider": "github",
            "filter": {"events": ["push"], "branches": ["main"], "when": "not payload.deleted"},
            "template": {"goal": "Deploy {{ payload.after }}", "idempotency_key": "deploy-{{ payload.after }}",
                         "steps": [{"step_id": "deploy", "argv": ["./deploy", "--", "{{ payload.after }}"]}]}}))),
        ("stripe" = (summary = "Note a paid invoice", value = json!({
            "name": "invoices", "project_id": "demo", "provider": "stripe", "secret": "whsec_as_Stripe_shows_it",
            "filter": {"events": ["invoice.paid"]},
            "template": {"goal": "Book invoice {{ payload.data.object.id }}",
                         "steps": [{"step_id": "book", "argv": ["./book", "--", "{{ payload.data.object.id }}"]}]}}))),
    )),
    responses((status = 201, description = "The hook is there", body = HookWithSecret,
               headers(("Location" = String, description = "Where the hook is"), ("ETag" = String, description = "Its version")))),
    extensions(("x-problems" = json!(["already_exists", "no_secrets_key"]))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    Json(body): Json,
) -> Result<Response, Problem> {
    let spec = HookSpec::read(&body).map_err(Problem::body)?;
    let kept = hooks::create(&api.pool, api.keys.as_ref(), &caller, spec).await?;
    Ok(with_secret(&api, StatusCode::CREATED, kept))
}

/// List hooks
///
/// The hooks of the token's projects, the newest first, a page at a time. Secrets are not shown.
#[utoipa::path(
    get,
    path = "/api/v1/hooks",
    operation_id = "listHooks",
    tag = "hooks",
    params(Pages),
    responses((status = 200, description = "A page of hooks", body = Listing<Hook>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    asked: Asked,
) -> Result<Response, Problem> {
    let page = store::hook::page(&api.pool, caller.projects.as_deref(), asked.after, asked.limit).await?;
    let page = Page {
        items: page.items.into_iter().map(|hook| Hook::of(&api, hook)).collect(),
        next: page.next,
    };
    Ok(asked.answer::<_, Hook>(page, &api.settings))
}

/// Show a hook
///
/// What it takes in and which job it makes; not its secret.
#[utoipa::path(
    get,
    path = "/api/v1/hooks/{name}",
    operation_id = "getHook",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy")),
    responses((status = 200, description = "The hook", body = Hook, headers(("ETag" = String, description = "Its version")))),
    security(("bearer" = ["read"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathText(name): PathText,
) -> Result<Tagged<Hook>, Problem> {
    let hook = hooks::find(&api.pool, &caller, &name).await?;
    Ok(tagged(&api, hook))
}

fn tagged(api: &Api, hook: store::hook::Hook) -> Tagged<Hook> {
    Tagged {
        version: hook.updated_at,
        body: Hook::of(api, hook),
    }
}

/// Change a hook
///
/// Replaces all of it but name, provider and secret. Send the `ETag` you read as `If-Match`, and
/// nobody's change is lost.
#[utoipa::path(
    put,
    path = "/api/v1/hooks/{name}",
    operation_id = "changeHook",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy"), IfMatch),
    request_body(content = HookSpec, description = "The whole hook", examples(
        ("paused" = (summary = "The same hook, paused", value = json!({
            "name": "deploy", "project_id": "demo", "provider": "github", "enabled": false,
            "template": {"goal": "Deploy", "steps": [{"step_id": "deploy", "argv": ["./deploy"]}]}}))),
    )),
    responses((status = 200, description = "The hook as it is now", body = Hook, headers(("ETag" = String, description = "Its version")))),
    extensions(("x-problems" = json!(["precondition_failed"]))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn change(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathText(name): PathText,
    if_match: IfMatch,
    Json(body): Json,
) -> Result<Tagged<Hook>, Problem> {
    let seen = hooks::find(&api.pool, &caller, &name).await?;
    let spec = HookSpec::read(&body).map_err(Problem::body)?;
    if_match.admits(seen.updated_at)?;
    let hook = hooks::change(&api.pool, &caller, &seen, spec).await?;
    Ok(tagged(&api, hook))
}

/// A hook that is gone.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedHook {
    #[schema(example = "deploy")]
    name: String,
    /// Always true.
    deleted: bool,
}

/// Delete a hook
///
/// Its address answers 404 from then on. The jobs it made stay.
#[utoipa::path(
    delete,
    path = "/api/v1/hooks/{name}",
    operation_id = "deleteHook",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy"), IfMatch),
    responses((status = 200, description = "The hook is gone", body = DeletedHook)),
    extensions(("x-problems" = json!(["precondition_failed"]))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathText(name): PathText,
    if_match: IfMatch,
) -> Result<axum::Json<DeletedHook>, Problem> {
    let seen = hooks::find(&api.pool, &caller, &name).await?;
    if_match.admits(seen.updated_at)?;
    hooks::delete(&api.pool, &caller, &seen).await?;
    Ok(axum::Json(DeletedHook { name, deleted: true }))
}

/// How a hook's secret is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSecret {
    /// The new secret; left out, one is made.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only, min_length = 8, max_length = 512)]
    secret: Option<SecretString>,
    /// How long the present secret is taken as well, in seconds.
    #[serde(default = "a_day")]
    #[schema(maximum = 2_592_000, default = 86400)]
    overlap_sec: u32,
}

fn a_day() -> u32 {
    86400
}

/// How long two secrets hold at once.
pub(super) fn overlap(seconds: u32) -> Result<Duration, Problem> {
    match seconds {
        0..=LONGEST_OVERLAP => Ok(Duration::from_secs(u64::from(seconds))),
        _ => Err(Problem::body(vec![Violation::new(
            "overlap_sec",
            format!("is {seconds}; allowed are 0 to {LONGEST_OVERLAP}"),
        )])),
    }
}

/// Replace a hook's secret
///
/// The present one is taken for a while longer, so that nothing is refused while the sender is changed.
#[utoipa::path(
    post,
    path = "/api/v1/hooks/{name}/rotate",
    operation_id = "rotateHookSecret",
    tag = "hooks",
    params(("name" = String, Path, description = "The hook", example = "deploy")),
    request_body(content = NewSecret, description = "The secret, and how long the present one is taken", examples(
        ("made" = (summary = "A secret that is made here; two hours to set it at the sender", value = json!({"overlap_sec": 7200}))),
    )),
    responses((status = 200, description = "The hook and its new secret", body = HookWithSecret,
               headers(("ETag" = String, description = "Its version")))),
    extensions(("x-problems" = json!(["no_secrets_key"]))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathText(name): PathText,
    Json(body): Json,
) -> Result<Response, Problem> {
    let NewSecret { secret, overlap_sec } = read_json(&body)?;
    let overlap = overlap(overlap_sec)?;
    let kept = hooks::rotate(&api.pool, api.keys.as_ref(), &caller, &name, secret, overlap).await?;
    Ok(with_secret(&api, StatusCode::OK, kept))
}
