//! `orchestrator project …`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{database, output};
use crate::app::authenticate::Caller;
use crate::app::projects;
use crate::config;
use crate::domain::page::MAX_LIMIT;
use crate::domain::problem::Violation;
use crate::domain::project::{NewProject, ProjectChange};
use crate::store::project::Profile;
use crate::store::{self, Pool};

/// Projects: aliases of source directories, with what holds for their jobs.
#[derive(Args, Debug)]
pub(super) struct Project {
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
    /// Make a project
    Create {
        /// What callers name it by
        alias: String,
        /// Where its source lies, an absolute path
        directory: String,
        #[command(flatten)]
        said: Said,
    },
    /// List projects
    List,
    /// Show a project
    Show {
        /// The project's alias
        alias: String,
    },
    /// Change a project; what is not named stays as it is
    Set {
        /// The project's alias
        alias: String,
        /// Where its source lies, an absolute path
        #[arg(long, value_name = "DIR")]
        directory: Option<String>,
        #[command(flatten)]
        said: Said,
    },
    /// Remove a project that has no jobs and schedules
    Rm {
        /// The project's alias
        alias: String,
    },
}

/// What can be said about a project.
#[derive(Args, Debug)]
struct Said {
    /// What it is, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How many of its jobs may run at once, or none for no limit
    #[arg(long, value_name = "N")]
    max_running: Option<String>,
    /// Most calls to agents in a day (UTC), or none for no limit beside the host's
    #[arg(long, value_name = "N")]
    max_daily_calls: Option<String>,
    /// Most US dollars agents may cost in a day (UTC), or none for no limit beside the host's
    #[arg(long, value_name = "USD")]
    max_daily_cost_usd: Option<String>,
    /// Whether its steps run in a sandbox; off lets them do without, and every job and log of it says so
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    sandbox: Option<bool>,
    /// What its jobs may do, as JSON: {"network":"deny","limits":{"memory_mb":2048}}
    #[arg(long, value_name = "JSON")]
    policy: Option<String>,
}

impl Said {
    /// The same as the API takes it.
    fn fields(self) -> anyhow::Result<Map<String, Value>> {
        let mut fields = Map::new();
        if let Some(description) = self.description {
            fields.insert("description".into(), description.into());
        }
        for (name, said) in [
            ("max_running", self.max_running),
            ("max_daily_calls", self.max_daily_calls),
            ("max_daily_cost_usd", self.max_daily_cost_usd),
        ] {
            if let Some(said) = said {
                fields.insert(name.into(), number(name, &said)?);
            }
        }
        if let Some(sandbox) = self.sandbox {
            fields.insert("sandbox".into(), sandbox.into());
        }
        if let Some(policy) = self.policy {
            let policy = serde_json::from_str(&policy).context("--policy: is not JSON")?;
            fields.insert("policy".into(), policy);
        }
        Ok(fields)
    }
}

/// A limit, or that there is none.
fn number(name: &str, said: &str) -> anyhow::Result<Value> {
    if said == "none" {
        return Ok(Value::Null);
    }
    let number: serde_json::Number = said
        .parse()
        .with_context(|| format!("--{} {said}: must be a number, or none", name.replace('_', "-")))?;
    Ok(number.into())
}

fn parse_switch(said: &str) -> Result<bool, &'static str> {
    match said {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    }
}

impl Project {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-project", 1).await?;
        let caller = Caller::operator("cli");
        let shown = match self.act {
            Act::Create {
                alias,
                directory,
                said,
            } => {
                let mut fields = said.fields()?;
                fields.insert("alias".into(), alias.into());
                fields.insert("directory".into(), directory.into());
                let new = NewProject::read(Value::Object(fields).to_string().as_bytes()).map_err(wrong)?;
                projects::create(&pool, &caller, &new).await?
            }
            Act::List => return list(&pool, self.json).await,
            Act::Show { alias } => {
                let found = store::project::find(&pool, &alias, None).await?;
                found.ok_or(projects::Error::Unknown(alias))?
            }
            Act::Set {
                alias,
                directory,
                said,
            } => {
                let mut fields = said.fields()?;
                if let Some(directory) = directory {
                    fields.insert("directory".into(), directory.into());
                }
                anyhow::ensure!(
                    !fields.is_empty(),
                    "nothing is to be changed; name at least one option"
                );
                let change =
                    ProjectChange::read(Value::Object(fields).to_string().as_bytes()).map_err(wrong)?;
                projects::change(&pool, &caller, &alias, &change, |_| Ok::<_, projects::Error>(())).await?
            }
            Act::Rm { alias } => {
                projects::remove(&pool, &caller, &alias, |_| Ok::<_, projects::Error>(())).await?;
                output::text(&format!("project {alias} is gone\n"))?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        show(&shown, self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Every violation on a line of its own.
pub(super) fn wrong(violations: impl AsRef<[Violation]>) -> anyhow::Error {
    let lines: Vec<String> = violations.as_ref().iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}

async fn list(pool: &Pool, as_objects: bool) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store::project::page(pool, None, after, MAX_LIMIT).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if as_objects {
        output::json(&all.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = all.into_iter().map(|project| {
        let max_running = limit(project.max_running.as_ref());
        [
            project.alias,
            project.directory,
            max_running,
            project.origin,
            project.description,
        ]
    });
    output::text(&output::table(
        ["project", "directory", "at once", "origin", "description"],
        rows,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn limit(limit: Option<&impl ToString>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), ToString::to_string)
}

fn show(project: &Profile, as_object: bool) -> anyhow::Result<()> {
    if as_object {
        return output::json(&as_json(project));
    }
    output::text(&format!(
        "project {}\n  directory    {}\n  description  {}\n  at once      {}\n  calls a day  {}\n  USD a day    {}\n  sandbox      {}\n  policy       {}\n  origin       {}\n  changed      {}\n",
        project.alias,
        project.directory,
        project.description,
        limit(project.max_running.as_ref()),
        limit(project.max_daily_calls.as_ref()),
        limit(project.max_daily_cost_usd.as_ref()),
        match project.sandbox {
            true => "on, where a host has one",
            false => "OFF: an administrator lets its steps run without",
        },
        project.policy,
        project.origin,
        project.updated_at.format("%F %T UTC"),
    ))
}

fn as_json(project: &Profile) -> Value {
    json!({
        "alias": project.alias, "directory": project.directory, "description": project.description,
        "max_running": project.max_running, "max_daily_calls": project.max_daily_calls,
        "max_daily_cost_usd": project.max_daily_cost_usd, "sandbox": project.sandbox, "policy": project.policy, "origin": project.origin,
        "created_at": project.created_at, "updated_at": project.updated_at,
    })
}
