//! `orchestrator doctor`: what is wrong with this installation, and what mends it.

mod agents;
mod database;
mod host;
mod policy;
mod queue;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{output, settings};
use crate::config;
use crate::domain::environment::DatabaseUrl;

/// Looks at settings, database, queue, runners, tokens, directories, sandbox, disk and agents, changes nothing, and says for each what is
/// wrong and what mends it. Ends with code 0 when all is well, 1 when something is to be looked at, 2 when something fails. Run it
/// as the services' user with the services' settings (--env-file).
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// PostgreSQL to look at
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = config::DATABASE_URL)]
    database_url: Option<DatabaseUrl>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How it stands with one thing, the worse the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found.into(), None)
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warn, found.into(), Some(remedy.into()))
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, found.into(), Some(remedy.into()))
    }

    fn new(name: &'static str, verdict: Verdict, found: String, remedy: Option<String>) -> Self {
        Self {
            name,
            verdict,
            found,
            remedy,
        }
    }
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut checks = configuration();
        let mut projects = Vec::new();
        match &self.database_url {
            Some(url) => projects = database::look(url, &mut checks).await,
            None => checks.push(Check::fail(
                "database",
                "DATABASE_URL is not set",
                "name the services' settings with --env-file, or set DATABASE_URL",
            )),
        }
        host::look(&projects, &mut checks).await;
        if let Some(url) = &self.database_url {
            agents::look(url, &mut checks).await;
        }
        let worst = checks
            .iter()
            .map(|check| check.verdict)
            .max()
            .unwrap_or(Verdict::Ok);
        if self.json {
            output::json(&json!({ "verdict": worst, "checks": checks }))?;
        } else {
            output::text(&for_people(&checks))?;
        }
        Ok(ExitCode::from(worst as u8))
    }
}

fn for_people(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "OK  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        text.push_str(&format!("{word}  {:<12}  {}\n", check.name, check.found));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("      {:<12}  → {remedy}\n", ""));
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    text.push_str(&format!(
        "\n{} ok, {} to look at, {} failing\n",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    ));
    text
}

/// Whether every setting is understood, and whether something is almost one.
fn configuration() -> Vec<Check> {
    let all = settings::all();
    let effective: Vec<_> = all.iter().map(settings::Setting::effective).collect();
    let mut checks: Vec<Check> = effective
        .iter()
        .filter_map(|setting| {
            let fault = setting.fault.as_ref()?;
            Some(Check::fail(
                "settings",
                format!("{}: {fault}", setting.name),
                "correct it; services with it do not start",
            ))
        })
        .collect();
    let names: Vec<&str> = effective.iter().map(|setting| setting.name.as_str()).collect();
    for variable in config::variables() {
        let near = |name: &&&str| strsim::damerau_levenshtein(name, &variable) <= 2;
        if variable.len() > 5
            && !names.contains(&variable.as_str())
            && let Some(name) = names.iter().find(near)
        {
            checks.push(Check::warn(
                "settings",
                format!("{variable} is no setting, and nobody reads it"),
                format!("write {name}, if that is meant"),
            ));
        }
    }
    if checks.is_empty() {
        let set = effective
            .iter()
            .filter(|setting| setting.source == "environment")
            .count();
        checks.push(Check::ok(
            "settings",
            format!("{set} of {} are set, and all are understood", effective.len()),
        ));
    }
    checks
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        some if some < 7200.0 => format!("{:.0} min", some / 60.0),
        long if long < 172_800.0 => format!("{:.0} h", long / 3600.0),
        days => format!("{:.0} days", days / 86_400.0),
    }
}
