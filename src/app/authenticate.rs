//! Who is calling, and what they may do.

use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};

use super::gather::{Company, Gather};
use crate::domain::id::{ProjectId, TokenId};
use crate::domain::token::{self, Scope, TokenHash};
use crate::domain::trace::TraceParent;
use crate::store::token::{Seen, Token};
use crate::store::{self, Pool};

mod remembered;

use remembered::Remembered;

/// Somebody who may do something.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token they came with; `None` for the operator at the command line.
    pub token: Option<TokenId>,
    /// How the audit log names them, as `token:ci`.
    pub actor: String,
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// The projects they reach; `None` is every project.
    pub projects: Option<Vec<ProjectId>>,
    /// In whose trace they ask, which the jobs they make carry on.
    pub trace: Option<TraceParent>,
    /// The token as it was seen a while ago, when it is from memory that they are known: whatever is written for them is to
    /// be written only if it still is so.
    pub seen: Option<Seen>,
}

impl Caller {
    /// The operator, who could as well write to the tables.
    #[must_use]
    pub fn operator(actor: &str) -> Self {
        Self {
            token: None,
            actor: actor.to_owned(),
            scopes: vec![Scope::Admin],
            projects: None,
            trace: None,
            seen: None,
        }
    }

    /// Whether they may do what `scope` covers. `admin` covers everything.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether they reach `project`.
    #[must_use]
    pub fn reaches(&self, project: ProjectId) -> bool {
        self.projects
            .as_ref()
            .is_none_or(|projects| projects.contains(&project))
    }
}

/// Why a secret opens nothing. Callers are told no more than this.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such token, or it was not copied whole, taken back, or has expired.
    #[error("the token is unknown, revoked or expired")]
    Unknown,
    /// PostgreSQL could not say.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// Whoever was to look is gone.
    #[error("nobody looked the token up; send the request again")]
    Lost,
}

/// Looks at once.
const LOOKS: usize = 2;
/// Most secrets looked up at once.
const MOST: usize = 100;

/// Looks secrets up, those of callers that come at the same time with one statement. A token that is revoked opens nothing
/// from then on: whoever is remembered is asked for again by the statement that writes for them.
#[derive(Clone, Debug)]
pub struct Tokens {
    pool: Pool,
    found: Gather<TokenHash, Result<Option<Token>, Arc<store::Error>>>,
    remembered: Remembered,
}

impl Tokens {
    /// Looks them up there.
    #[must_use]
    pub fn of(pool: &Pool) -> Self {
        let looked_at = pool.clone();
        let found = Gather::start(LOOKS, MOST, Company::AsBefore, move |hashes: Vec<TokenHash>| {
            let pool = looked_at.clone();
            async move {
                match store::token::by_hashes(&pool, &hashes).await {
                    Ok(tokens) => tokens.into_iter().map(Ok).collect(),
                    Err(error) => {
                        let error = Arc::new(error);
                        hashes.iter().map(|_| Err(error.clone())).collect()
                    }
                }
            }
        });
        Self {
            pool: pool.clone(),
            found,
            remembered: Remembered::default(),
        }
    }

    /// Who presented `secret` a moment ago, for somebody who can write without looking first: see [`Caller::seen`].
    #[must_use]
    pub fn remembered(&self, secret: &SecretString) -> Option<Caller> {
        self.remembered
            .find(&TokenHash::of(secret.expose_secret()), Instant::now())
    }
}

/// Finds out who presents `secret`.
///
/// # Errors
///
/// [`Error::Unknown`] for every secret that opens nothing, whatever the reason; [`Error::Store`] when
/// the database is away.
pub async fn authenticate(tokens: &Tokens, secret: &SecretString) -> Result<Caller, Error> {
    let secret = secret.expose_secret();
    if !token::is_whole(secret) {
        return Err(Error::Unknown);
    }
    let hash = TokenHash::of(secret);
    let found = tokens.found.ask(hash).await.ok_or(Error::Lost)?;
    let found = found.map_err(Error::Store)?;
    let found = found.filter(|token| token.revoked_at.is_none() && !token.expired);
    let Some(token) = found else {
        tokens.remembered.forget(&hash);
        return Err(Error::Unknown);
    };
    let caller = Caller {
        token: Some(token.id),
        actor: format!("token:{}", token.name),
        scopes: token.scopes,
        projects: token.projects,
        trace: None,
        seen: None,
    };
    match token.seldom_used {
        // That makes another row of it.
        true => {
            let touched = store::token::touch(&tokens.pool, token.id).await;
            touched.map_err(|error| Error::Store(Arc::new(error)))?;
        }
        false if caller.may(Scope::Submit) => tokens.remembered.keep(
            hash,
            Caller {
                seen: Some(token.seen),
                ..caller.clone()
            },
            Instant::now(),
        ),
        false => {}
    }
    Ok(caller)
}
