//! Agents: which of them this host can run.

use super::{Check, policy};
use crate::cli::{database, runner, settings};
use crate::config;
use crate::domain::agent::Definition;
use crate::domain::environment::DatabaseUrl;
use crate::objects::Objects;
use crate::runner::versions::{Asker, Found, survey};
use crate::store::{self, Pool};

pub(super) async fn look(url: &DatabaseUrl, checks: &mut Vec<Check>) {
    let Ok(from) = settings::read::<config::Runner>() else {
        // What is wrong with them was said, as was what is wrong with the database.
        return;
    };
    let Ok(pool) = database::open(url, "orchestrator-doctor", 1).await else {
        return;
    };
    let nowhere = Objects::directory(&from.workspaces_root);
    let Ok(settings) = runner::settings(&from, from.workspaces_root.clone(), nowhere, false).await else {
        return;
    };
    let asker = Asker {
        supervisor: settings.supervisor.clone(),
        credentials: settings.credentials,
        path: settings.path().to_owned(),
    };
    let found = survey(&asker, &definitions(&pool, checks).await).await;
    match settings.real_cli {
        true => checks.extend(found.iter().map(check)),
        false => checks.push(simulated(&found)),
    }
    if let Err(error) = policy::look(&pool, &settings, checks).await {
        checks.push(Check::fail(
            "budgets",
            error.to_string(),
            "run doctor again; the server's log says more",
        ));
    }
}

/// Every agent that is a program. One that cannot be read is said.
async fn definitions(pool: &Pool, checks: &mut Vec<Check>) -> Vec<(String, Definition)> {
    let mut all = Vec::new();
    for agent in store::agent::all(pool).await.unwrap_or_default() {
        if !agent.definition["argv"].is_array() {
            continue;
        }
        match serde_json::from_value(agent.definition) {
            Ok(definition) => all.push((agent.name, definition)),
            Err(error) => checks.push(Check::fail(
                "agents",
                format!("{} cannot be read by this version: {error}", agent.name),
                "set it again: orchestrator agent set",
            )),
        }
    }
    all
}

fn check(found: &Found) -> Check {
    match (&found.problem, &found.path, &found.version) {
        (Some(problem), ..) => Check::warn(
            "agents",
            format!("{}: {problem}", found.agent),
            "install it, or remove the agent: orchestrator agent rm",
        ),
        (None, Some(path), Some(version)) => Check::ok(
            "agents",
            format!("{} is {} {version}", found.agent, path.display()),
        ),
        (None, ..) => Check::ok("agents", format!("{} is here", found.agent)),
    }
}

/// Nobody misses a program that is not run.
fn simulated(found: &[Found]) -> Check {
    let fit: Vec<&str> = found
        .iter()
        .filter(|found| found.problem.is_none())
        .map(|found| found.agent.as_str())
        .collect();
    let fit = match fit.as_slice() {
        [] => "none is installed here".to_owned(),
        fit => format!("{} could be run here", fit.join(", ")),
    };
    Check::ok(
        "agents",
        format!("ENABLE_REAL_CLI is 0: agents are simulated; {fit}"),
    )
}
