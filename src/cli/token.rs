//! `orchestrator token …`

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::project::wrong;
use super::{database, output, values};
use crate::app::authenticate::Caller;
use crate::app::tokens::{self, Made};
use crate::config;
use crate::domain::id::TokenId;
use crate::domain::page::MAX_LIMIT;
use crate::domain::token::{NewToken, Rotation};
use crate::store::token::Profile;
use crate::store::{self, Pool};

/// Tokens: scoped secrets. A secret is printed once, when it is made.
#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(flatten)]
    database: config::Database,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Make a token and print its secret
    Create {
        /// What people call it
        name: String,
        /// What it may do: submit, read, operate, admin
        #[arg(
            long,
            value_name = "LIST",
            value_delimiter = ',',
            default_value = "submit,read"
        )]
        scopes: Vec<String>,
        /// Aliases of the projects it reaches, or * for every one
        #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
        projects: Vec<String>,
        /// When it stops being good, as 2030-01-01T00:00:00Z; never otherwise
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        expires_at: Option<DateTime<Utc>>,
    },
    /// List tokens, also those that are over
    List,
    /// Take a token back; it opens nothing from then on
    Revoke {
        /// The token's id
        id: TokenId,
    },
    /// Put a new token in the place of another, and print its secret
    Rotate {
        /// The token's id
        id: TokenId,
        /// How long the old secret stays good, in seconds
        #[arg(long, value_name = "SEC", default_value_t = 86400)]
        overlap_sec: u32,
        /// When the new one stops being good; it lasts as long as the old one did otherwise
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        expires_at: Option<DateTime<Utc>>,
    },
}

impl Token {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-token", 1).await?;
        let caller = Caller::operator("cli");
        match self.act {
            Act::Create {
                name,
                scopes,
                projects,
                expires_at,
            } => {
                // Read as the API reads it, so that both refuse the same.
                let asked =
                    json!({"name": name, "scopes": scopes, "projects": projects, "expires_at": expires_at});
                let new = NewToken::read(asked.to_string().as_bytes()).map_err(wrong)?;
                show(
                    &tokens::create(&pool, &caller, &new).await.map_err(said)?,
                    self.json,
                )?;
            }
            Act::List => list(&pool, self.json).await?,
            Act::Revoke { id } => {
                let token = tokens::revoke(&pool, &caller, id).await?;
                match self.json {
                    true => output::json(&as_json(&token))?,
                    false => output::text(&format!("token {id} ({}) is revoked\n", token.name))?,
                }
            }
            Act::Rotate {
                id,
                overlap_sec,
                expires_at,
            } => {
                let asked = json!({"overlap_sec": overlap_sec, "expires_at": expires_at});
                let how = Rotation::read(asked.to_string().as_bytes()).map_err(wrong)?;
                let overlap = Duration::from_secs(how.overlap_sec.into());
                let made = tokens::rotate(&pool, &caller, id, overlap, how.expires_at).await;
                show(&made.map_err(said)?, self.json)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn said(error: tokens::Error) -> anyhow::Error {
    match error {
        tokens::Error::Invalid(violations) => wrong(violations),
        other => other.into(),
    }
}

/// The secret alone goes to standard output, so that a script can keep it.
fn show(made: &Made, as_object: bool) -> anyhow::Result<()> {
    let secret = made.secret.expose_secret();
    if as_object {
        let mut object = as_json(&made.token);
        object["secret"] = json!(secret);
        return output::json(&object);
    }
    output::text(&format!("{secret}\n"))?;
    output::note(&format!(
        "token {} ({}); this is the only time its secret is shown\n",
        made.token.id, made.token.name
    ));
    Ok(())
}

async fn list(pool: &Pool, as_objects: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store::token::page(pool, None, after, MAX_LIMIT).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if as_objects {
        return output::json(&all.iter().map(as_json).collect::<Vec<_>>());
    }
    let rows = all.iter().map(|token| {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| (*scope).into()).collect();
        [
            token.id.to_string(),
            token.name.clone(),
            format!("{}…", token.prefix),
            scopes.join(","),
            projects(token).join(","),
            state(token).to_owned(),
            at(token.expires_at),
            at(token.last_used_at),
        ]
    });
    let head = [
        "token",
        "name",
        "secret",
        "scopes",
        "projects",
        "state",
        "expires",
        "last used",
    ];
    output::text(&output::table(head, rows))
}

fn state(token: &Profile) -> &'static str {
    match (token.revoked_at, token.expired) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "active",
    }
}

fn projects(token: &Profile) -> Vec<String> {
    match token.every_project {
        true => vec!["*".to_owned()],
        false => token.projects.clone(),
    }
}

fn at(instant: Option<DateTime<Utc>>) -> String {
    instant.map_or_else(
        || "never".to_owned(),
        |instant| instant.format("%F %H:%M").to_string(),
    )
}

fn as_json(token: &Profile) -> Value {
    json!({
        "id": token.id, "name": token.name, "prefix": token.prefix, "scopes": token.scopes,
        "projects": projects(token), "state": state(token), "origin": token.origin, "created_at": token.created_at,
        "expires_at": token.expires_at, "revoked_at": token.revoked_at, "revoked_by": token.revoked_by,
        "last_used_at": token.last_used_at, "rotated_from": token.rotated_from,
    })
}
