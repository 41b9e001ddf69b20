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

#[test]
fn the_manual_page_names_every_command_and_what_it_does() {
    let page = deploy("man/orchestrator.1")
        .replace("\\-", "-")
        .replace("\\(aq", "'");
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    let help = command.arg("--help").env_clear().assert().success();
    let help = String::from_utf8(help.get_output().stdout.clone()).unwrap();
    let commands = help.split_once("Commands:\n").unwrap().1;
    let commands = commands.split_once("\n\n").unwrap().0;
    let mut expected: Vec<String> = Vec::new();
    for line in commands.lines() {
        match line[2..].split_once("  ") {
            Some((name, about)) if !name.is_empty() => {
                expected.push(format!(".TP\n.B {name}\n{}", about.trim()));
            }
            // The last one goes on.
            _ => *expected.last_mut().unwrap() += &format!(" {}", line.trim()),
        }
    }
    expected.retain(|command| !command.starts_with(".TP\n.B help\n"));
    assert!(expected.len() > 20);
    assert!(
        page.contains(&expected.join("\n")),
        "deploy/man/orchestrator.1 has other commands than --help:\n{}",
        expected.join("\n")
    );
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
        let backoff = "-/opt/multi-agent-cli-orchestrator/libexec/backoff";
        assert_eq!(value(&unit, "ExecStartPre"), format!("{backoff} before"));
        assert_eq!(value(&unit, "ExecStopPost"), format!("{backoff} after"));
        assert_eq!(value(&unit, "RuntimeDirectoryPreserve"), "restart");
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

#[test]
fn a_service_that_keeps_failing_is_given_more_time_before_each_start_up_to_a_minute() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = scratch();
    // It says how long it would sleep.
    let sleep = directory.join("sleep");
    std::fs::write(&sleep, "#!/bin/sh\necho $1\n").unwrap();
    std::fs::set_permissions(&sleep, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let run = |word: &str, result: &str| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/backoff"));
        command.arg(word).env_clear().env("PATH", &path);
        command
            .env("RUNTIME_DIRECTORY", directory.as_os_str())
            .env("SERVICE_RESULT", result);
        let said = command.assert().success().get_output().stdout.clone();
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    let fail = |result: &str| {
        assert_eq!(run("after", result), "");
        run("before", "success")
    };
    // A first start waits for nothing.
    assert_eq!(run("before", "success"), "");
    let waits: Vec<_> = (0..8).map(|_| fail("exit-code")).collect();
    assert_eq!(waits, ["", "2", "6", "14", "30", "58", "58", "58"]);
    // Whoever ends well, or was up for long, begins anew.
    run("after", "success");
    assert_eq!([fail("watchdog"), fail("signal")], ["", "2"]);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let failures = std::fs::File::options()
        .write(true)
        .open(directory.join("failures"))
        .unwrap();
    failures.set_modified(long_ago).unwrap();
    assert_eq!([fail("exit-code"), fail("exit-code")], ["", "2"]);
}

/// A `launchctl` that keeps books of what is loaded: it refuses what is loaded already, as launchd does, and one that was booted
/// out is still there for the next two looks.
const LAUNCHCTL: &str = r#"#!/bin/sh
echo "$@" >>"$BOOKS/log"
label=${2##*/}
case "$1" in
    print)
        test -e "$BOOKS/$label" || exit 113
        if test -e "$BOOKS/$label.ends"; then
            echo . >>"$BOOKS/$label.ends"
            if test "$(wc -l <"$BOOKS/$label.ends")" -gt 2; then rm "$BOOKS/$label" "$BOOKS/$label.ends"; fi
        fi ;;
    bootout) : >"$BOOKS/$label.ends" ;;
    bootstrap)
        label=$(basename "$3" .plist)
        if test -e "$BOOKS/$label"; then echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; fi
        cp "$3" "$BOOKS/$label" ;;
esac
"#;

#[test]
fn launchd_is_given_three_services_again_and_again_and_they_are_taken_away() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = scratch();
    let (bin, home, books) = (
        directory.join("bin"),
        // What XML, sed and the shell would each take for their own.
        directory.join("Ann & Bob's <home> \\1|2"),
        directory.join("books"),
    );
    for made in [&bin, &home, &books] {
        std::fs::create_dir(made).unwrap();
    }
    // It is for people, not for root, whoever runs this test.
    let programs = [
        ("launchctl", LAUNCHCTL),
        ("id", "#!/bin/sh\necho 501\n"),
        ("sleep", "#!/bin/sh\n"),
    ];
    for (name, text) in programs {
        std::fs::write(bin.join(name), text).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |arguments: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install_launchd.sh");
        let mut command = Command::new(script);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", home.as_os_str())
            .env("BOOKS", books.as_os_str())
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let said = command.assert().success().get_output().stdout.clone();
        String::from_utf8(said).unwrap()
    };
    let names = |directory: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let install = ["--program", "/bin/true"];
    let would = run(&[install[0], install[1], "--dry-run"]);
    assert!(would.contains("launchctl bootstrap gui/501"), "{would}");
    assert_eq!(names(&home), [""; 0], "a dry run does nothing");
    run(&install);
    let settings = home.join("Library/Application Support/orchestrator/orchestrator.env");
    std::fs::write(&settings, "RUNNER_SLOTS=3\n").unwrap();
    // Again, while all of them run.
    run(&install);
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "RUNNER_SLOTS=3\n");
    let services = [
        "orchestrator.api",
        "orchestrator.runner",
        "orchestrator.scheduler",
    ];
    let loaded = |books: &Path| {
        let mut loaded = names(books);
        loaded.retain(|name| name != "log");
        loaded
    };
    assert_eq!(loaded(&books), services);
    for label in services {
        let reads = "import plistlib, sys; p = plistlib.load(open(sys.argv[1], 'rb'));
print(p['Label'], *p['ProgramArguments'], p['WorkingDirectory'], p['StandardErrorPath'], p['EnvironmentVariables']['WORKSPACES_ROOT'], sep='\\n')";
        let read = Command::new("python3")
            .args(["-c", reads])
            .arg(books.join(label))
            .output()
            .unwrap();
        let service = label.trim_start_matches("orchestrator.");
        let data = home.join("Library/Application Support/orchestrator");
        let (data, home) = (data.display(), home.display());
        assert_eq!(
            String::from_utf8_lossy(&read.stdout),
            format!(
                "{label}\n{data}/bin/orchestrator\n--env-file\n{data}/orchestrator.env\n{service}\n{data}\n{home}/Library/Logs/orchestrator/{service}.log\n{data}/workspaces\n"
            ),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
    }
    run(&["--uninstall"]);
    assert_eq!(loaded(&books), [""; 0]);
    assert_eq!(names(&home.join("Library/LaunchAgents")), [""; 0]);
    assert!(settings.exists(), "settings are kept");
    run(&["--uninstall"]);
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
