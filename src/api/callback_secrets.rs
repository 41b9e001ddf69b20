//! What the callbacks of a project are signed with.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{Admin, Allowed, Read};
use super::extract::{Json, PathText};
use super::hooks::overlap;
use super::idempotency::KeepInstead;
use super::pagination::Listing;
use super::problem::{Kind, Problem};
use crate::app::callback_secrets::{self, Error};
use crate::domain::id::CallbackSecretId;
use crate::domain::problem::read_json;
use crate::store::callback_secret::Shown;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        match error {
            Error::Unknown(_) => Self::new(Kind::NotFound, said),
            Error::Raced => Self::new(Kind::Conflict, said),
            Error::NoKey(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// A secret that callbacks are signed with; never the secret itself.
#[derive(Serialize, ToSchema)]
pub(super) struct CallbackSecret {
    id: CallbackSecretId,
    created_at: DateTime<Utc>,
    /// Until when it signs, once another has replaced it.
    retires_at: Option<DateTime<Utc>>,
}

impl From<Shown> for CallbackSecret {
    fn from(shown: Shown) -> Self {
        Self {
            id: shown.id,
            created_at: shown.created_at,
            retires_at: shown.retires_at,
        }
    }
}

/// List what callbacks are signed with
///
/// The secrets of the project that sign now, the newest first; there are two while one replaces the other.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{alias}/callback-secrets",
    operation_id = "listCallbackSecrets",
    tag = "hooks",
    params(("alias" = String, Path, description = "The project", example = "demo")),
    responses((status = 200, description = "The secrets that sign", body = Listing<CallbackSecret>)),
    security(("bearer" = ["read"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Read>,
    PathText(alias): PathText,
) -> Result<axum::Json<Listing<CallbackSecret>>, Problem> {
    let shown = callback_secrets::shown(&api.pool, &caller, &alias).await?;
    Ok(axum::Json(Listing::whole(
        shown.into_iter().map(CallbackSecret::from).collect(),
    )))
}

/// How the secret of callbacks is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replacement {
    /// How long the present secret signs as well, in seconds.
    #[serde(default = "a_day")]
    #[schema(maximum = 2_592_000, default = 86400)]
    overlap_sec: u32,
}

fn a_day() -> u32 {
    86400
}

/// A secret that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewCallbackSecret {
    id: CallbackSecretId,
    /// The secret: it is shown now and never again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
    /// Until when the one before signs as well, if there was one.
    old_signs_until: Option<DateTime<Utc>>,
}

/// Replace what callbacks are signed with
///
/// Makes a secret for the project's callbacks and shows it once. The present one signs for a while
/// longer beside it, so that no receiver refuses a callback while it learns the new one.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{alias}/callback-secrets",
    operation_id = "replaceCallbackSecret",
    tag = "hooks",
    params(("alias" = String, Path, description = "The project", example = "demo")),
    request_body(content = Replacement, description = "How long the present secret signs as well", examples(
        ("day" = (summary = "Both sign for a day", value = json!({"overlap_sec": 86400}))),
    )),
    responses((status = 201, description = "The secret signs from now on", body = NewCallbackSecret)),
    extensions(("x-problems" = json!(["conflict", "no_secrets_key"]))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathText(alias): PathText,
    Json(body): Json,
) -> Result<Response, Problem> {
    let Replacement { overlap_sec } = read_json(&body)?;
    let overlap = overlap(overlap_sec)?;
    let rotated = callback_secrets::rotate(&api.pool, api.keys.as_ref(), &caller, &alias, overlap).await?;
    let mut shown = NewCallbackSecret {
        id: rotated.id,
        secret: None,
        old_signs_until: rotated.old_signs_until,
    };
    let without = serde_json::to_vec(&shown).unwrap_or_default();
    shown.secret = Some(rotated.secret.expose_secret().to_owned());
    let mut response = (StatusCode::CREATED, axum::Json(shown)).into_response();
    response
        .extensions_mut()
        .insert(KeepInstead(Bytes::from(without)));
    Ok(response)
}
