//! Programs that behave badly, run as a runner runs them.

mod artifacts;
mod confinement;
mod cut;
mod disk;
mod endings;
mod output;
mod patches;
mod rebuilt;
mod redaction;
mod refusals;
mod runner;
mod sandbox;
mod sweep;
mod tree;
mod unconfined;
mod workspace;

use std::time::Duration;

use orchestrator::runner::process::{
    self, Chunk, Command, Credentials, Limits, Outcome, SpawnError, Stream, Supervisor,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A supervisor of the test's own.
fn supervisor() -> Supervisor {
    Supervisor::of(env!("CARGO_BIN_EXE_orchestrator"))
}

/// A program with nothing but a `PATH`, as the user steps run as.
fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        directory: "/".into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        stdin: None,
        timeout: Duration::from_secs(60),
        idle_timeout: None,
        grace: Duration::from_millis(300),
        limits: Limits::default(),
        nice: 10,
        credentials: Credentials::for_steps("nobody").unwrap(),
        wrapper: None,
    }
}

/// A shell with a script, whose further arguments are for the script and for being found by.
fn shell(script: &str, arguments: &[&str]) -> Command {
    command(&[&["/bin/sh", "-c", script, "sh"], arguments].concat())
}

/// What was printed, chunk by chunk.
#[derive(Default)]
struct Printed(Vec<Chunk>);

impl Printed {
    fn of(&self, stream: Stream) -> Vec<u8> {
        let chunks = self.0.iter().filter(|chunk| chunk.stream == stream);
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    fn text(&self) -> String {
        String::from_utf8(self.of(Stream::Stdout)).unwrap()
    }
}

/// Runs it to its end, with everything it prints.
async fn run(command: Command) -> (Result<Outcome, SpawnError>, Printed) {
    run_until(&supervisor(), command, NEVER).await
}

/// A word no program prints.
const NEVER: &str = "\u{1}never";

/// Runs it, and tells it to stop when it has printed `word`.
async fn run_until(
    supervisor: &Supervisor,
    command: Command,
    word: &str,
) -> (Result<Outcome, SpawnError>, Printed) {
    let (output, mut chunks) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let listening = async {
        let mut printed = Printed::default();
        while let Some(chunk) = chunks.recv().await {
            printed.0.push(chunk);
            if String::from_utf8_lossy(&printed.of(Stream::Stdout)).contains(word) {
                stop.cancel();
            }
        }
        printed
    };
    tokio::join!(process::run(supervisor, command, output, stop.clone()), listening)
}

/// A word no other process has among its arguments.
fn mark() -> String {
    format!("mark-{}", uuid::Uuid::now_v7().simple())
}

/// The processes that have `mark` among their arguments.
fn marked(mark: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments)
            .split('\0')
            .any(|argument| argument == mark)
    })
    .collect()
}

/// Waits for something that must become true; a busy machine may take its time.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
