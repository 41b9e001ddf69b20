//! Tokens: listed, made, rotated, taken back. A secret is shown once, in the answer that makes it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

use super::Api;
use super::auth::{Admin, Allowed};
use super::extract::{Json, OptionalJson, PathId};
use super::idempotency::KeepInstead;
use super::pagination::{Asked, Listing, Pages};
use super::problem::{Kind, Problem};
use crate::app::tokens::{self, Made};
use crate::domain::id::TokenId;
use crate::domain::token::{NewToken, Rotation, Scope};
use crate::store;

/// A scoped secret, without the secret.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Token {
    id: TokenId,
    /// What people call it.
    #[schema(example = "ci")]
    name: String,
    /// The secret's first characters, to recognise it by.
    #[schema(example = "orc_3fK9")]
    prefix: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// Aliases of the projects it reaches; `["*"]` is every project.
    #[schema(example = json!(["demo"]))]
    projects: Vec<String>,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active", pattern = "^(active|expired|revoked)$")]
    state: &'static str,
    /// Where it comes from: `administrator`, `environment` (WEBHOOK_TOKENS) or `dev`.
    #[schema(example = "administrator")]
    origin: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it stops being good; null is never.
    expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    revoked_at: Option<DateTime<Utc>>,
    /// Who took it back.
    revoked_by: Option<String>,
    /// When it was last used, to the minute.
    last_used_at: Option<DateTime<Utc>>,
    /// The token whose place it took.
    rotated_from: Option<TokenId>,
}

impl From<store::token::Profile> for Token {
    fn from(token: store::token::Profile) -> Self {
        let state = match (token.revoked_at, token.expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "active",
        };
        let projects = match token.every_project {
            true => vec!["*".to_owned()],
            false => token.projects,
        };
        Self {
            id: token.id,
            name: token.name,
            prefix: token.prefix,
            scopes: token.scopes,
            projects,
            state,
            origin: token.origin,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            revoked_by: token.revoked_by,
            last_used_at: token.last_used_at,
            rotated_from: token.rotated_from,
        }
    }
}

/// A token that was just made, with its secret.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct TokenWithSecret {
    #[serde(flatten)]
    token: Token,
    /// What to present as `Authorization: Bearer`. It is stored nowhere and not shown again: null in the
    /// answer to a repeat under the same `Idempotency-Key`.
    #[schema(example = "orc_3fK9c0ffeec0ffeec0ffeec0ffeec0ff0JxkPq")]
    secret: Option<String>,
}

impl From<tokens::Error> for Problem {
    fn from(error: tokens::Error) -> Self {
        use tokens::Error;
        match error {
            Error::Invalid(errors) => Self::body(errors),
            Error::Reach(_) => Self::new(Kind::ProjectForbidden, error.to_string()),
            Error::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            Error::Over(_) | Error::Environment(_) => Self::new(Kind::WrongState, error.to_string()),
            Error::Store(error) => error.into(),
        }
    }
}

/// List tokens
///
/// The newest first, a page at a time, also those that are over. A token that does not reach every
/// project sees those that reach nothing beyond its own.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    params(Pages),
    responses((status = 200, description = "A page of tokens", body = Listing<Token>,
               headers(("Link" = String, description = "`rel=\"next\"`: the next page, when there is one")))),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    asked: Asked,
) -> Result<Response, Problem> {
    let page = store::token::page(&api.pool, caller.projects.as_deref(), asked.after, asked.limit).await?;
    Ok(asked.answer::<_, Token>(page, &api.settings))
}

/// Make a token
///
/// The secret is in this answer and nowhere else. Nobody can give projects that their own token does
/// not reach.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    operation_id = "createToken",
    tag = "tokens",
    request_body(content = NewToken, description = "The token", examples(
        ("webhook" = (summary = "For a service that submits jobs to one project", value = json!({"name": "shop", "scopes": ["submit", "read"], "projects": ["demo"]}))),
        ("operator" = (summary = "For an operator, until the end of the decade", value = json!({"name": "ops", "scopes": ["read", "operate"], "projects": ["*"], "expires_at": "2030-01-01T00:00:00Z"}))),
    )),
    responses((status = 201, description = "The token, with its secret", body = TokenWithSecret,
               headers(("Location" = String, description = "Where the token is")))),
    security(("bearer" = ["admin"])),
    extensions(("x-problems" = json!(["project_forbidden"]))),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    Json(body): Json,
) -> Result<Response, Problem> {
    let new = NewToken::read(&body).map_err(Problem::body)?;
    Ok(shown_once(&api, tokens::create(&api.pool, &caller, &new).await?))
}

/// Show a token
///
/// Everything but its secret.
#[utoipa::path(
    get,
    path = "/api/v1/tokens/{id}",
    operation_id = "getToken",
    tag = "tokens",
    params(("id" = TokenId, Path, description = "The token")),
    responses((status = 200, description = "The token", body = Token)),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn show(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathId(id): PathId<TokenId>,
) -> Result<axum::Json<Token>, Problem> {
    let found = store::token::find(&api.pool, id, caller.projects.as_deref()).await?;
    Ok(axum::Json(found.ok_or(tokens::Error::Unknown(id))?.into()))
}

/// Rotate a token
///
/// Makes a new token with the same name, scopes and projects. The old secret stays good for
/// `overlap_sec`, so that callers can be changed over one by one.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{id}/rotate",
    operation_id = "rotateToken",
    tag = "tokens",
    params(("id" = TokenId, Path, description = "The token whose place is to be taken")),
    request_body(content = Option<Rotation>, description = "How; without a body, a day of overlap", examples(
        ("hour" = (summary = "An hour of overlap", value = json!({"overlap_sec": 3600}))),
        ("now" = (summary = "The old secret is lost: none", value = json!({"overlap_sec": 0}))),
    )),
    responses((status = 201, description = "The new token, with its secret", body = TokenWithSecret,
               headers(("Location" = String, description = "Where the new token is")))),
    security(("bearer" = ["admin"])),
    extensions(("x-problems" = json!(["wrong_state"]))),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathId(id): PathId<TokenId>,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    let rotation = match body {
        Some(body) => Rotation::read(&body).map_err(Problem::body)?,
        None => Rotation::default(),
    };
    let overlap = Duration::from_secs(rotation.overlap_sec.into());
    let made = tokens::rotate(&api.pool, &caller, id, overlap, rotation.expires_at).await?;
    Ok(shown_once(&api, made))
}

/// Revoke a token
///
/// It opens nothing from this answer on. Asking again changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{id}/revoke",
    operation_id = "revokeToken",
    tag = "tokens",
    params(("id" = TokenId, Path, description = "The token")),
    responses((status = 200, description = "The token, revoked", body = Token)),
    security(("bearer" = ["admin"])),
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    Allowed { caller, .. }: Allowed<Admin>,
    PathId(id): PathId<TokenId>,
) -> Result<axum::Json<Token>, Problem> {
    Ok(axum::Json(tokens::revoke(&api.pool, &caller, id).await?.into()))
}

fn shown_once(api: &Api, made: Made) -> Response {
    let location = api.settings.link(&format!("/api/v1/tokens/{}", made.token.id));
    let mut shown = TokenWithSecret {
        token: made.token.into(),
        secret: Some(made.secret.expose_secret().to_owned()),
    };
    let headers = [(header::LOCATION, location)];
    let mut response = (StatusCode::CREATED, headers, axum::Json(shown.clone())).into_response();
    shown.secret = None;
    // Strings and times: nothing here can fail to become JSON.
    let kept = Bytes::from(serde_json::to_vec(&shown).unwrap_or_default());
    response.extensions_mut().insert(KeepInstead(kept));
    response
}
