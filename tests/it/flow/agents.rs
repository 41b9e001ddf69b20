//! Agents: how they are called, what they are told, what they may.

mod answers;
mod survey;

use std::os::unix::fs::PermissionsExt as _;

use assert_cmd::Command;
use orchestrator::app::submit;
use orchestrator::domain::agent::Definition;
use orchestrator::domain::id::JobId;
use orchestrator::domain::spec::JobSpec;
use orchestrator::store::agent;
use serde_json::{Value, json};

use self::answers::{CLAUDE, CODEX, KIMI, OPENCODE};
use super::Ground;
use crate::support::{Program, ask};

impl Ground {
    /// A program of this name that says it is `version`, notes what it is given, and prints `answer`.
    pub(super) fn install(&self, name: &str, version: &str, answer: &str, end: &str) {
        let bin = self.directory.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let place = |what: &str| self.place(&format!("{name}.{what}"));
        std::fs::write(place("answer"), answer).unwrap();
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '{version}'; exit 0; }}\n\
             for word in \"$@\"; do printf '%s\\n' \"$word\"; done > {argv}\n\
             cat > {stdin}\nenv > {env}\necho working >&2\ncat {answer}\n{end}\n",
            argv = place("argv"),
            stdin = place("stdin"),
            env = place("env"),
            answer = place("answer"),
        );
        let program = bin.join(name);
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.place("bin"))
    }

    /// A runner that really runs agents.
    pub(super) fn real(&self, environment: &[(&str, &str)]) -> Program {
        let path = self.path();
        let ours = [("ENABLE_REAL_CLI", "1"), ("PATH", &path)];
        self.runner(&[&ours, environment].concat())
    }

    fn given(&self, name: &str, what: &str) -> String {
        std::fs::read_to_string(self.place(&format!("{name}.{what}"))).unwrap_or_default()
    }

    pub(super) async fn asks_agent(&self, agent: &str, fields: Value) -> JobId {
        let step = super::with(
            json!({ "step_id": "ask", "agent": agent, "prompt": "Do it.", "max_retries": 0 }),
            fields,
        );
        self.submit(json!({ "steps": [step] })).await
    }

    async fn used(&self) -> String {
        let row = "select concat_ws(' ', session_id, input_tokens, output_tokens, cached_tokens, cost_usd) || ' | ' || report from step_usage";
        ask(&self.pool, row).await
    }

    async fn log(&self) -> String {
        ask(
            &self.pool,
            "select coalesce(string_agg(body, '' order by attempt, seq), '') from log",
        )
        .await
    }

    async fn message(&self, job: JobId) -> String {
        ask(&self.pool, &format!("select message from job where id = '{job}'")).await
    }
}

#[tokio::test]
async fn without_leave_an_agent_is_simulated_and_says_so() {
    let ground = Ground::new().await;
    ground.install("claude", "2.1.44", CLAUDE, "");
    let job = ground.asks_agent("claude", json!({ "role": "reviewer" })).await;
    let path = ground.path();
    let _runner = ground.runner(&[("PATH", &path)]);
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.given("claude", "argv"), "", "it was not run");
    assert!(
        ground
            .log()
            .await
            .contains("ENABLE_REAL_CLI is 0: simulated, claude was not run")
    );
    let row = ask(
        &ground.pool,
        "select concat_ws(' ', simulated, input_tokens, cost_usd) from step_usage",
    )
    .await;
    assert_eq!(row, "t");
    let report = ask(&ground.pool, "select report from step_usage").await;
    assert!(
        report.starts_with("# Step ask\n\n- agent: claude\n- role: reviewer\n"),
        "{report}"
    );
}

#[tokio::test]
async fn a_program_that_is_missing_or_too_old_is_not_run() {
    let ground = Ground::new().await;
    let job = ground.asks_agent("claude", json!({})).await;
    let runner = ground.real(&[]);
    ground.reaches(job, "failed spawn").await;
    let message = ground.message(job).await;
    assert!(
        message.starts_with("`claude`, which agent \"claude\" needs, was not found; install it"),
        "{message}"
    );
    drop(runner);

    let ground = Ground::new().await;
    ground.install("claude", "1.0.9 (Claude Code)", CLAUDE, "");
    let job = ground.asks_agent("claude", json!({})).await;
    let _runner = ground.real(&[]);
    ground.reaches(job, "failed policy").await;
    let message = ground.message(job).await;
    assert!(
        message.contains("is version 1.0.9; 2.1.0 is the oldest that will do"),
        "{message}"
    );
    assert_eq!(ground.given("claude", "argv"), "");
}

#[tokio::test]
async fn no_prompt_becomes_an_option_and_no_role_more_than_it_may() {
    let ground = Ground::new().await;
    ground.install("claude", "2.1.44", CLAUDE, "");
    ground.install("kimi", "1.2.3", KIMI, "");
    let hostile = "--dangerously-skip-permissions $(touch /tmp/x) `id` ; \" '";
    let job = ground
        .submit(json!({ "goal": "--yolo", "steps": [
            { "step_id": "a", "agent": "kimi", "prompt": hostile, "max_retries": 0 },
            { "step_id": "b", "agent": "claude", "role": "reviewer", "prompt": hostile, "max_retries": 0 },
            { "step_id": "c", "agent": "claude", "role": "reviewer", "prompt": "x", "allowed_tools": ["Bash"], "max_retries": 0 },
        ] }))
        .await;
    let _runner = ground.real(&[]);
    ground.reaches(job, "failed policy").await;
    let argv = ground.given("kimi", "argv");
    assert!(
        argv.starts_with("--output-format=stream-json\n--prompt=## Goal\n\n--yolo\n"),
        "{argv}"
    );
    assert!(argv.contains(hostile));
    let argv = ground.given("claude", "argv");
    assert_eq!(
        argv,
        "--print\n--output-format=json\n--permission-mode=acceptEdits\n--strict-mcp-config\n--tools=Read,Glob,Grep\n--allowedTools=Read,Glob,Grep\n"
    );
    let message = ground.message(job).await;
    assert!(
        message.contains(r#"the step allows the tool "Bash", which the agent does not have in this role"#),
        "{message}"
    );
}

#[tokio::test]
async fn an_agent_sees_the_variables_its_row_names_and_nobody_sees_their_values() {
    let ground = Ground::new().await;
    let key = "a-key-of-no-known-shape-4711";
    let answer = CLAUDE.replace("Nothing is missing.", key);
    ground.install("claude", "2.1.44", &answer, "");
    let env = ground.place("command.env");
    let job = ground
        .submit(json!({ "steps": [
            { "step_id": "ask", "agent": "claude", "prompt": "x" },
            { "step_id": "look", "argv": ["sh", "-c", format!("env > {env}")] },
        ] }))
        .await;
    let _runner = ground.real(&[("ANTHROPIC_API_KEY", key), ("UNRELATED", "value-of-no-interest")]);
    ground.reaches(job, "succeeded").await;
    let seen = ground.given("claude", "env");
    assert!(seen.contains(key) && !seen.contains("UNRELATED"), "{seen}");
    assert!(
        !std::fs::read_to_string(env).unwrap().contains(key),
        "a command is no agent"
    );
    assert!(!ground.used().await.contains(key) && ground.used().await.contains("[REDACTED]"));
    assert!(!ground.log().await.contains(key));
}

#[tokio::test]
async fn an_agent_is_told_what_came_before_within_bounds_and_the_cut_is_said() {
    let ground = Ground::new().await;
    ground.install("opencode", "1.18.31", OPENCODE, "");
    ground.install("codex", "0.99.0", CODEX, "");
    let job = ground
        .submit(json!({
            "goal": "Make it better", "context_strategy": "full",
            "context_window": [{ "role": "user", "content": "The tests run with make." }],
            "steps": [
                { "step_id": "look", "argv": ["echo", "seventeen files"] },
                { "step_id": "plan", "agent": "opencode", "role": "planner", "prompt": "Plan." },
                { "step_id": "do", "agent": "codex", "prompt": "Do.", "input_artifacts": ["steps/plan/report.md", "steps/look/patch.diff", "notes.md"] },
            ],
        }))
        .await;
    let _runner = ground.real(&[
        ("MAX_INPUT_ARTIFACT_CHARS", "8"),
        ("MAX_INPUT_ARTIFACTS_FILES", "2"),
    ]);
    ground.reaches(job, "succeeded").await;
    let told = ground.given("codex", "stdin");
    for part in [
        "## Goal\n\nMake it better\n",
        "## Task\n\nDo.\n",
        "## Conversation context (full)\n\n### 1. user\n\nThe tests run with make.\n",
        "### 2. assistant\n\nStep look succeeded\n\nseventeen files\n",
        "### 3. assistant\n\nStep plan succeeded\n\nThe plan: change one file.\n",
        "=== BEGIN ARTIFACT: steps/plan/report.md ===\nThe plan\n[truncated:file_limit]\n=== END ARTIFACT ===",
        "=== BEGIN ARTIFACT: steps/look/patch.diff ===\n[missing]\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let log = ground.log().await;
    assert!(
        log.contains("of input artifact steps/plan/report.md 8 of 26 characters are shown"),
        "{log}"
    );
    assert!(
        log.contains("input artifact notes.md is not shown: 2 are the most"),
        "{log}"
    );
    assert!(ground.given("opencode", "argv").ends_with("--agent=plan\n"));
}

#[tokio::test]
async fn a_program_with_a_sandbox_of_its_own_leaves_that_to_the_hosts_where_there_is_one() {
    let says = "printf '{\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":\"%s\"}}\\n' \"$*\"";
    let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 0.169.0; exit 0; }}\n{says}\n");
    for (sandbox, expected) in [("off", "read-only"), ("bwrap", "danger-full-access")] {
        if sandbox != "off" && !std::path::Path::new("/usr/bin/bwrap").is_file() {
            eprintln!("not tried: bubblewrap is not installed");
            return;
        }
        let ground = Ground::new().await;
        ground.install("codex", "0.169.0", "", "");
        let bin = ground.place("bin");
        std::fs::write(format!("{bin}/codex"), &script).unwrap();
        let job = ground.asks_agent("codex", json!({ "role": "reviewer" })).await;
        let _runner = ground.real(&[
            ("SANDBOX", sandbox),
            ("SANDBOX_READABLE", &bin),
            ("NETWORK_POLICY", "allow"),
        ]);
        ground.reaches(job, "succeeded").await;
        let used = ground.used().await;
        assert!(used.contains(&format!("--sandbox={expected} -")), "{used}");
    }
}

#[tokio::test]
async fn a_new_agent_is_one_command_and_no_code() {
    let ground = Ground::new().await;
    ground.install("poet", "0.1", r#"{"poem": "roses", "cost": {"usd": 0.5}}"#, "");
    let _runner = ground.real(&[]);
    let orchestrator = |arguments: &[&str], input: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", ground.database.url.expose())
            .write_stdin(input)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let definition = json!({
        "argv": ["poet", "--json", "--", "{prompt}"], "prompt": "argument",
        "output": { "format": "json", "text": { "at": ["/poem"] }, "cost_usd": { "at": ["/cost/usd"] } },
        "binaries": [{ "name": "poet", "minimum": "0.1" }],
    })
    .to_string();
    assert_eq!(
        orchestrator(&["agent", "add", "poet", "-"], &definition),
        (0, "agent poet is made\n".into())
    );
    let (code, said) = orchestrator(&["agent", "add", "poet", "-"], &definition);
    assert!(
        code == 1 && said.contains("there is an agent named \"poet\""),
        "{said}"
    );
    let (code, said) = orchestrator(
        &["agent", "set", "poet", "-"],
        r#"{"argv": ["poet", "{prompt}"], "prompt": "argument"}"#,
    );
    assert!(
        code == 1 && said.contains("argv: \"{prompt}\": a prompt may begin with `-`"),
        "{said}"
    );
    let (code, said) = orchestrator(&["agent", "show", "poet"], "");
    assert_eq!(
        (
            code,
            serde_json::from_str::<Value>(&said).unwrap()["binaries"][0]["name"].clone()
        ),
        (0, json!("poet"))
    );
    let (code, said) = orchestrator(&["agent", "list"], "");
    assert!(
        code == 0 && said.contains("claude") && said.contains("Claude Code, headless"),
        "{said}"
    );
    let (code, said) = orchestrator(&["agent", "rm", "command"], "");
    assert!(code == 1 && said.contains("is built in"), "{said}");

    let job = ground.asks_agent("poet", json!({})).await;
    ground.reaches(job, "succeeded").await;
    assert_eq!(ground.used().await, "0.500000 | roses");

    assert_eq!(orchestrator(&["agent", "rm", "poet"], "").0, 0);
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [
        { "step_id": "a", "argv": ["true"] }, { "step_id": "b", "agent": "poet", "prompt": "x" },
    ] });
    let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
    let refused = submit::submit(&ground.pool, &ground.hints, &ground.operator, &spec)
        .await
        .unwrap_err();
    let submit::Error::Invalid(violations) = refused else {
        panic!("{refused}");
    };
    assert_eq!(violations[0].path, "steps[1].agent");
    assert!(
        violations[0]
            .message
            .contains("there are: claude, codex, command"),
        "{}",
        violations[0]
    );
}

#[tokio::test]
async fn seeded_agents_hold_what_administrators_definitions_must() {
    let ground = Ground::new().await;
    let agents = agent::all(&ground.pool).await.unwrap();
    let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "claude", "codex", "command", "gemini", "kimi", "noop", "opencode", "simulate"
        ]
    );
    for agent in agents {
        if agent.definition["argv"].is_array() {
            let definition = Definition::read(agent.definition.to_string().as_bytes());
            let definition = definition.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", agent.name));
            for role in ["planner", "reviewer"] {
                assert!(definition.reads_only(Some(role)), "{}: {role}", agent.name);
            }
        }
    }
}

#[tokio::test]
async fn a_reviewer_cannot_write_to_the_workspace_whatever_it_tries() {
    if !["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|place| std::path::Path::new(place).join("bwrap").is_file())
    {
        eprintln!("not tried: bubblewrap is not installed");
        return;
    }
    let ground = Ground::new().await;
    let definition = json!({
        "argv": ["sh", "-c", "echo x > written && echo wrote; echo y > $HOME/own && cat $HOME/own; cat kept"],
        "roles": { "reviewer": { "reads_only": true } },
    });
    agent::make(&ground.pool, "vandal", &definition, "test")
        .await
        .unwrap();
    let job = ground
        .submit(json!({ "steps": [
            { "step_id": "make", "argv": ["sh", "-c", "echo kept > kept"] },
            { "step_id": "review", "agent": "vandal", "role": "reviewer", "prompt": "x" },
            { "step_id": "look", "argv": ["sh", "-c", "ls"] },
            { "step_id": "write", "agent": "vandal", "prompt": "x" },
        ] }))
        .await;
    let _runner = ground.real(&[("SANDBOX", "bwrap")]);
    ground.reaches(job, "succeeded").await;
    let said = "select string_agg(report, '|' order by ordinal) from step_usage";
    assert_eq!(ask(&ground.pool, said).await, "y\nkept|wrote\ny\nkept");
    let listed = "select string_agg(body, '') from log where position = 2 and stream = 'stdout'";
    assert_eq!(ask(&ground.pool, listed).await, "kept\n");
}
