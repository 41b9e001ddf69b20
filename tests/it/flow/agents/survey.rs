//! Which agents a host can run.

use assert_cmd::Command;
use orchestrator::runner::process::Supervisor;
use orchestrator::runner::versions::{Asker, survey};
use orchestrator::store::agent;

use super::super::Ground;
use super::answers::{CLAUDE, CODEX, GEMINI};

#[tokio::test]
async fn a_survey_says_which_agents_are_here_and_fit() {
    let ground = Ground::new().await;
    ground.install("claude", "2.1.44 (Claude Code)", CLAUDE, "");
    ground.install("codex", "codex-cli 0.9.0", CODEX, "");
    ground.install("gemini", "who knows", GEMINI, "");
    let mut agents = Vec::new();
    for name in ["claude", "codex", "gemini", "kimi"] {
        let row = agent::find(&ground.pool, name).await.unwrap().unwrap();
        agents.push((name.to_owned(), serde_json::from_value(row.definition).unwrap()));
    }
    let asker = Asker {
        supervisor: Supervisor::of(env!("CARGO_BIN_EXE_orchestrator")),
        credentials: None,
        path: ground.path(),
    };
    let found = survey(&asker, &agents).await;
    let line = |found: &orchestrator::runner::versions::Found| match (&found.version, &found.problem) {
        (Some(version), None) => format!("{} {version}", found.agent),
        (_, problem) => format!("{}: {}", found.agent, problem.as_deref().unwrap_or_default()),
    };
    let lines: Vec<String> = found.iter().map(line).collect();
    assert_eq!(lines[0], "claude 2.1.44");
    assert!(
        lines[1].ends_with("is version 0.9.0; 0.50.0 is the oldest that will do"),
        "{lines:?}"
    );
    assert!(lines[2].contains("holds no version"), "{lines:?}");
    assert!(lines[3].contains("`kimi` was not found"), "{lines:?}");
}

#[tokio::test]
async fn doctor_says_which_agents_this_host_can_run() {
    let ground = Ground::new().await;
    ground.install("claude", "2.1.44 (Claude Code)", CLAUDE, "");
    let doctor = |real: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .arg("doctor")
            .env_clear()
            .envs([
                ("DATABASE_URL", ground.database.url.expose()),
                ("PATH", &ground.path()),
            ])
            .envs([
                ("ENABLE_REAL_CLI", real),
                ("SANDBOX", "off"),
                ("WORKSPACES_ROOT", &ground.place("w")),
            ])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = doctor("1");
    assert!(said.contains("OK    agents        claude is "), "{said}");
    assert!(
        said.contains("WARN  agents        codex: `codex` was not found"),
        "{said}"
    );
    let said = doctor("0");
    assert!(
        said.contains("agents are simulated; claude could be run here"),
        "{said}"
    );
}
