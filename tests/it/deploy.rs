//! What `deploy/` holds is what the program has.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use assert_cmd::Command;
use nix::sys::signal::Signal;
use orchestrator::store::migrate::migrate;

use crate::support::{Program, empty_database, scratch};

fn template() -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command.args(["config", "--template"]).env_clear();
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_checked_in_environment_file_is_the_one_the_program_makes() {
    assert!(
        template() == deploy("orchestrator.env"),
        "deploy/orchestrator.env is out of date: run `just env-file`"
    );
}

#[test]
fn every_setting_of_the_environment_file_may_be_set_to_what_it_shows() {
    // Every line that shows a default, taken at its word.
    let shown: Vec<String> = template()
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix('#').unwrap_or(line);
            let (name, value) = line.split_once('=')?;
            let is_name = !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || letter == '_');
            (is_name && !value.is_empty()).then(|| line.to_owned())
        })
        .collect();
    assert!(shown.len() > 20, "{shown:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), shown.join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command
        .args(["config", "--json", "--env-file", file.path().to_str().unwrap()])
        .env_clear();
    let said = command.assert().success().get_output().stdout.clone();
    let settings: Vec<serde_json::Value> = serde_json::from_slice(&said).unwrap();
    let read = settings
        .iter()
        .filter(|setting| setting["source"] == "environment")
        .count();
    assert_eq!(read, shown.len(), "{settings:#?}");
}

/// The value of a key of a unit.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {key}="));
    assert_eq!(values.next(), None, "{key}= is there twice");
    value
}

#[test]
fn units_run_the_program_as_its_user_and_are_told_that_it_works() {
    for (file, command) in [
        ("orchestrator-api.service", "api"),
        ("orchestrator-scheduler.service", "scheduler"),
        ("orchestrator-runner.service", "runner"),
        ("orchestrator-runner@.service", "runner --instance %i"),
    ] {
        let unit = deploy(&format!("systemd/{file}"));
        let program = "/opt/multi-agent-cli-orchestrator/bin/orchestrator";
        assert_eq!(value(&unit, "ExecStart"), format!("{program} {command}"));
        assert_eq!(value(&unit, "User"), "orchestrator");
        assert_eq!(value(&unit, "Type"), "notify");
        assert_eq!(value(&unit, "WatchdogSec"), "30s");
        assert_eq!(
            value(&unit, "EnvironmentFile"),
            "/etc/multi-agent-orchestrator/orchestrator.env"
        );
        assert!(
            !unit.contains("Requires=") && !unit.contains("BindsTo="),
            "{file}"
        );
    }
    // The template and the single unit are one text but for the instance.
    let plain = |file: &str| {
        let unit = deploy(&format!("systemd/{file}"));
        let differs = |line: &&str| {
            !["Description=", "ExecStart=", "# Hardening"]
                .iter()
                .any(|start| line.starts_with(start))
        };
        unit.lines().filter(differs).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        plain("orchestrator-runner.service"),
        plain("orchestrator-runner@.service")
    );
}

/// Hears what a service tells its manager until something begins with `text`.
fn hear(line: &UnixDatagram, heard: &mut String, text: &str) {
    let mut buffer = [0; 4096];
    while !heard.lines().any(|said| said.starts_with(text)) {
        let length = line
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("never told {text:?} ({error}), but:\n{heard}"));
        heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

#[tokio::test]
async fn services_tell_their_manager_that_they_are_ready_once_they_are_and_then_that_they_live() {
    let database = empty_database().await;
    let directory = scratch();
    let lines: Vec<_> = [
        vec!["api", "--bind", "127.0.0.1:0"],
        vec!["runner", "--runner-drain-sec", "600"],
        vec!["scheduler"],
    ]
    .into_iter()
    .map(|arguments| {
        let path = directory.join(arguments[0]);
        let line = UnixDatagram::bind(&path).unwrap();
        line.set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        let environment = [
            ("DATABASE_URL", database.url.expose()),
            ("WORKSPACES_ROOT", directory.to_str().unwrap()),
            ("SANDBOX", "off"),
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "400000"),
        ];
        (line, Program::start(&arguments, &environment), arguments[0])
    })
    .collect();
    let mut heard = vec![String::new(); lines.len()];
    for ((line, _, _), heard) in lines.iter().zip(&mut heard) {
        hear(line, heard, "STATUS=waiting for the database or its schema");
        assert!(!heard.contains("READY=1"), "{heard}");
    }
    migrate(&database.url).await.unwrap();
    for ((line, program, service), mut heard) in lines.into_iter().zip(heard) {
        hear(&line, &mut heard, "READY=1");
        heard.clear();
        hear(&line, &mut heard, "WATCHDOG=1");
        program.signal(Signal::SIGTERM);
        hear(&line, &mut heard, "STOPPING=1");
        // As long as a drain may take, and half a minute.
        let time = match service {
            "runner" => "EXTEND_TIMEOUT_USEC=630000000",
            "api" => "EXTEND_TIMEOUT_USEC=40000000",
            _ => "EXTEND_TIMEOUT_USEC=30000000",
        };
        hear(&line, &mut heard, time);
    }
}
