//! `orchestrator agent …`

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{database, output};
use crate::app::agents;
use crate::app::authenticate::Caller;
use crate::config;
use crate::domain::agent::{Definition, Kind};
use crate::store::agent::Agent;
use crate::store::{self, Pool};

/// Looks at agents, makes, changes and removes them.
#[derive(Args, Debug)]
pub(super) struct Agents {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Show every agent
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show how an agent is called, asked and understood, as JSON that add and set take
    Show {
        /// The agent
        name: String,
    },
    /// Make an agent from a definition (JSON)
    Add {
        /// What steps will call it
        name: String,
        /// The file with the definition; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
    /// Change an agent to a definition (JSON)
    Set {
        /// The agent
        name: String,
        /// The file with the definition; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
    /// Remove an agent
    Rm {
        /// The agent
        name: String,
    },
}

impl Agents {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // What is wrong with a file is said whether or not there is a database.
        let definition = match &self.act {
            Act::Add { file, .. } | Act::Set { file, .. } => Some(read(file)?),
            _ => None,
        };
        let pool = database::open(&self.database.database_url, "orchestrator-agent", 2).await?;
        let caller = Caller::operator("cli");
        match (self.act, definition) {
            (Act::List { json }, _) => list(&pool, json).await?,
            (Act::Show { name }, _) => {
                let agent = agents::find(&pool, &name).await?;
                output::text(&format!("{}\n", serde_json::to_string_pretty(&agent.definition)?))?;
            }
            (Act::Add { name, .. }, Some(definition)) => {
                agents::make(&pool, &caller, &name, &definition).await?;
                output::text(&format!("agent {name} is made\n"))?;
            }
            (Act::Set { name, .. }, Some(definition)) => {
                agents::change(&pool, &caller, &name, &definition, None).await?;
                output::text(&format!("agent {name} is changed\n"))?;
            }
            (Act::Rm { name }, _) => {
                agents::remove(&pool, &caller, &name, None).await?;
                output::text(&format!("agent {name} is removed\n"))?;
            }
            (Act::Add { .. } | Act::Set { .. }, None) => anyhow::bail!("the definition was not read"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(pool: &Pool, json: bool) -> anyhow::Result<()> {
    let agents = store::agent::all(pool).await?;
    if json {
        let all: Vec<_> = agents
            .iter()
            .map(|agent| json!({ "name": agent.name, "kind": agent.kind, "definition": agent.definition, "updated_at": agent.updated_at }))
            .collect();
        return output::json(&all);
    }
    let row = |agent: Agent| {
        let program = match agent.kind {
            Kind::BuiltIn => "built in".to_owned(),
            Kind::Program => agent.definition["argv"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        let description = agent.definition["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        [agent.name, program, description]
    };
    output::text(&output::table(
        ["agent", "program", "what it is"],
        agents.into_iter().map(row),
    ))
}

fn read(file: &Path) -> anyhow::Result<Definition> {
    let bytes = match file.as_os_str() == "-" {
        false => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        true => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            bytes
        }
    };
    Definition::read(&bytes).map_err(|violations| {
        let lines: Vec<String> = violations
            .iter()
            .map(|violation| format!("\n  {violation}"))
            .collect();
        anyhow::anyhow!("the definition does not hold:{}", lines.concat())
    })
}
