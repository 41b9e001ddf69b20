//! `orchestrator hook …`

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::hooks::{self, Error, Kept};
use crate::domain::hook::HookSpec;
use crate::domain::page::MAX_LIMIT;
use crate::store::{Pool, hook, hook_delivery};
use crate::{config, domain};

/// Who may send events here, and the jobs they make.
#[derive(Args, Debug)]
pub(super) struct Hook {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    secrets: config::Secrets,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// List hooks
    List,
    /// Print a hook as JSON, as `put` takes it; its secret is not shown
    Show {
        /// The hook
        name: String,
    },
    /// Make the hook a file describes, or change the one that has its name
    Put {
        /// The file (JSON), as POST /api/v1/hooks takes it; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// File with the secret of a new hook; without it, and without one in the description, one is made and shown
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Replace a hook's secret
    Rotate {
        /// The hook
        name: String,
        /// File with the new secret; without it one is made and shown
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// How long the present secret is taken as well, in seconds
        #[arg(long, value_name = "SEC", default_value_t = 86400, value_parser = clap::value_parser!(u64).range(0..=2_592_000))]
        overlap_sec: u64,
    },
    /// Delete a hook; its jobs stay
    Rm {
        /// The hook
        name: String,
    },
    /// List what came in at a hook, the newest first
    Deliveries {
        /// The hook
        name: String,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
    },
}

impl Hook {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let keys = self.secrets.keyring().map_err(anyhow::Error::msg)?;
        let pool = database::open(&self.database.database_url, "orchestrator-hook", 2).await?;
        let caller = Caller::operator("cli");
        match self.act {
            Act::List => list(&pool).await?,
            Act::Show { name } => {
                let found = hooks::find(&pool, &caller, &name).await?;
                output::text(&format!("{}\n", serde_json::to_string_pretty(&found.spec)?))?;
            }
            Act::Put { file, secret_file } => {
                let mut spec = HookSpec::read(&read(&file)?).map_err(|wrong| refused(&wrong))?;
                let secret = secret_file.as_deref().map(secret).transpose()?;
                spec.secret = secret.or(spec.secret);
                let kept = put(&pool, keys.as_ref(), &caller, spec).await.map_err(said)?;
                say(&kept)?;
            }
            Act::Rotate {
                name,
                secret_file,
                overlap_sec,
            } => {
                let secret = secret_file.as_deref().map(secret).transpose()?;
                let overlap = Duration::from_secs(overlap_sec);
                let kept = hooks::rotate(&pool, keys.as_ref(), &caller, &name, secret, overlap).await;
                say(&kept.map_err(said)?)?;
            }
            Act::Rm { name } => {
                let seen = hooks::find(&pool, &caller, &name).await?;
                hooks::delete(&pool, &caller, &seen).await?;
                output::text(&format!("hook {name} is gone\n"))?;
            }
            Act::Deliveries { name, limit } => {
                let hook = hooks::find(&pool, &caller, &name).await?;
                deliveries(&pool, &hook, limit).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn put(
    pool: &Pool,
    keys: Option<&domain::seal::Keyring>,
    caller: &Caller,
    spec: HookSpec,
) -> Result<Kept, Error> {
    match hooks::find(pool, caller, &spec.name).await {
        Ok(seen) => {
            let hook = hooks::change(pool, caller, &seen, spec).await?;
            Ok(Kept { hook, secret: None })
        }
        Err(Error::Unknown(_)) => hooks::create(pool, keys, caller, spec).await,
        Err(error) => Err(error),
    }
}

async fn list(pool: &Pool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = hook::page(pool, None, after, MAX_LIMIT).await?;
        rows.extend(page.items.into_iter().map(|hook| {
            let state = if hook.spec.enabled { "open" } else { "paused" };
            let HookSpec {
                name,
                project_id,
                provider,
                ..
            } = hook.spec;
            [name, project_id, provider.to_string(), state.to_owned()]
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    output::text(&output::table(["hook", "project", "provider", "state"], rows))
}

async fn deliveries(pool: &Pool, hook: &hook::Hook, limit: u16) -> anyhow::Result<()> {
    let page = hook_delivery::page(pool, hook.id, None, limit).await?;
    let rows = page.items.into_iter().map(|row| {
        let job = row.job.map(|job| job.to_string());
        [
            row.received_at.to_rfc3339(),
            row.event.unwrap_or_default(),
            row.outcome.to_string(),
            job.or(row.reason).unwrap_or_default(),
        ]
    });
    output::text(&output::table(
        ["received", "event", "outcome", "job or reason"],
        rows,
    ))
}

/// Says what there is now, and the secret if it was made here: once, on standard output, for whoever set it up.
fn say(kept: &Kept) -> anyhow::Result<()> {
    let name = &kept.hook.spec.name;
    output::text(&format!("hook {name}: POST /hooks/{name}\n"))?;
    match &kept.secret {
        Some(secret) => output::text(&format!(
            "secret: {}\nIt is not shown again; set it at the sender.\n",
            secret.expose_secret()
        )),
        None => Ok(()),
    }
}

fn said(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid(wrong) => refused(&wrong),
        other => other.into(),
    }
}

fn refused(wrong: &[domain::problem::Violation]) -> anyhow::Error {
    let lines: Vec<String> = wrong.iter().map(|violation| format!("\n  {violation}")).collect();
    anyhow::anyhow!("the hook does not hold:{}", lines.concat())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    Ok(bytes)
}

/// A secret of a file, without the line's end. On a command line everybody on the host could read it.
fn secret(file: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}
