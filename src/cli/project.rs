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
        match self.max_running.as_deref() {
            None => {}
            Some("none") => drop(fields.insert("max_running".into(), Value::Null)),
            Some(number) => {
                let number: u32 = number
                    .parse()
                    .with_context(|| format!("--max-running {number}: must be a number, or none"))?;
                fields.insert("max_running".into(), number.into());
            }
        }
        if let Some(policy) = self.policy {
            let policy = serde_json::from_str(&policy).context("--policy: is not JSON")?;
            fields.insert("policy".into(), policy);
        }
        Ok(fields)
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
        let max_running = limit(project.max_running);
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

fn limit(max_running: Option<i16>) -> String {
    max_running.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
}

fn show(project: &Profile, as_object: bool) -> anyhow::Result<()> {
    if as_object {
        return output::json(&as_json(project));
    }
    output::text(&format!(
        "project {}\n  directory    {}\n  description  {}\n  at once      {}\n  policy       {}\n  origin       {}\n  changed      {}\n",
        project.alias,
        project.directory,
        project.description,
        limit(project.max_running),
        project.policy,
        project.origin,
        project.updated_at.format("%F %T UTC"),
    ))
}

fn as_json(project: &Profile) -> Value {
    json!({
        "alias": project.alias, "directory": project.directory, "description": project.description,
        "max_running": project.max_running, "policy": project.policy, "origin": project.origin,
        "created_at": project.created_at, "updated_at": project.updated_at,
    })
}
