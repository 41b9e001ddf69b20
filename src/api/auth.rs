//! Who is calling: a bearer token, and the scope a handler asks for in its signature.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use secrecy::SecretString;

use super::Api;
use super::problem::{Kind, Problem};
use crate::app::authenticate::{self, Caller, authenticate};
use crate::domain::token::Scope;
use crate::domain::trace::TraceParent;

/// Longest secret that is looked up, in bytes. Ours have 42; those of the environment may be longer.
const LONGEST: usize = 512;

/// A caller who may do what `S` covers. A handler that takes one cannot be reached without.
pub(super) struct Allowed<S> {
    pub(super) caller: Caller,
    scope: PhantomData<S>,
}

/// A scope as a type.
pub(super) trait Needs {
    const SCOPE: Scope;
    /// Whether it concerns every project, so that a token for some of them is not enough.
    const EVERY_PROJECT: bool = false;
}

/// May see jobs and what came of them.
pub(super) struct Read;

impl Needs for Read {
    const SCOPE: Scope = Scope::Read;
}

/// May put jobs in.
pub(super) struct Submit;

impl Needs for Submit {
    const SCOPE: Scope = Scope::Submit;
}

/// May cancel and retry jobs.
pub(super) struct Operate;

impl Needs for Operate {
    const SCOPE: Scope = Scope::Operate;
}

/// May do everything.
pub(super) struct Admin;

impl Needs for Admin {
    const SCOPE: Scope = Scope::Admin;
}

/// May do everything to what all projects share: queues and runners.
pub(super) struct Host;

impl Needs for Host {
    const SCOPE: Scope = Scope::Admin;
    const EVERY_PROJECT: bool = true;
}

impl<S: Needs + Send> FromRequestParts<Api> for Allowed<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = caller(parts, api).await?;
        if !caller.may(S::SCOPE) {
            return Err(lacking(S::SCOPE));
        }
        if S::EVERY_PROJECT && caller.projects.is_some() {
            return Err(Problem::new(
                Kind::ProjectForbidden,
                "this concerns every project, and the token reaches only some",
            ));
        }
        Ok(Self {
            caller,
            scope: PhantomData,
        })
    }
}

/// Somebody who may put one job in. They may be from memory, and be refused only when they were looked up: see
/// [`Caller::seen`].
pub(super) struct Submitter {
    pub(super) caller: Caller,
    /// What they presented, when they are from memory.
    secret: Option<SecretString>,
}

impl FromRequestParts<Api> for Submitter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let secret = presented(parts)?;
        let remembered = api.tokens.remembered(&secret);
        if let Some(caller) = remembered.filter(|caller| caller.may(Submit::SCOPE)) {
            tracing::Span::current().record("caller", &caller.actor);
            return Ok(Self {
                caller: traced(caller, parts),
                secret: Some(secret),
            });
        }
        let Allowed { caller, .. } = Allowed::<Submit>::from_request_parts(parts, api).await?;
        Ok(Self { caller, secret: None })
    }
}

impl Submitter {
    /// The same, looked up for this request.
    pub(super) async fn looked_up(&self, api: &Api) -> Result<Caller, Problem> {
        let Some(secret) = &self.secret else {
            return Ok(self.caller.clone());
        };
        let caller = look_up(api, secret).await?;
        match caller.may(Submit::SCOPE) {
            true => Ok(Caller {
                trace: self.caller.trace,
                ..caller
            }),
            false => Err(lacking(Submit::SCOPE)),
        }
    }
}

/// Who is calling; looked up once a request.
pub(super) async fn caller(parts: &mut Parts, api: &Api) -> Result<Caller, Problem> {
    if let Some(known) = parts.extensions.get::<Caller>() {
        return Ok(known.clone());
    }
    let secret = presented(parts)?;
    let caller = traced(look_up(api, &secret).await?, parts);
    tracing::Span::current().record("caller", &caller.actor);
    parts.extensions.insert(caller.clone());
    Ok(caller)
}

fn traced(caller: Caller, parts: &Parts) -> Caller {
    Caller {
        trace: parts.extensions.get::<TraceParent>().copied(),
        ..caller
    }
}

async fn look_up(api: &Api, secret: &SecretString) -> Result<Caller, Problem> {
    match authenticate(&api.tokens, secret).await {
        Ok(caller) => Ok(caller),
        Err(authenticate::Error::Unknown) => Err(refused("the token is unknown, revoked or expired")),
        Err(authenticate::Error::Store(error)) => Err((&*error).into()),
        Err(authenticate::Error::Lost) => Err(Problem::internal()),
    }
}

/// The secret of the one `Authorization: Bearer` header there has to be.
fn presented(parts: &Parts) -> Result<SecretString, Problem> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (header, again) = (headers.next(), headers.next());
    let Some(header) = header else {
        return Err(challenge(
            "send the token as `Authorization: Bearer <token>`",
            r#"Bearer realm="orchestrator""#,
        ));
    };
    if again.is_some() {
        return Err(refused("there is more than one Authorization header; send one"));
    }
    let text = std::str::from_utf8(header.as_bytes())
        .map_err(|_| refused("the Authorization header is not UTF-8"))?;
    let secret = match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
        _ => return Err(refused("the Authorization header is not `Bearer <token>`")),
    };
    match secret.len() {
        0 => Err(refused("the token is empty")),
        1..=LONGEST => Ok(SecretString::from(secret)),
        _ => Err(refused("the token is longer than 512 bytes")),
    }
}

fn refused(detail: &str) -> Problem {
    challenge(detail, r#"Bearer realm="orchestrator", error="invalid_token""#)
}

fn challenge(detail: &str, value: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail).with_header(WWW_AUTHENTICATE, value)
}

/// The caller is known, and may not do this.
pub(super) fn lacking(scope: Scope) -> Problem {
    Problem::new(
        Kind::MissingScope,
        format!("this needs a token with the scope `{scope}`"),
    )
    .with_header(
        WWW_AUTHENTICATE,
        &format!(r#"Bearer realm="orchestrator", error="insufficient_scope", scope="{scope}""#),
    )
}
