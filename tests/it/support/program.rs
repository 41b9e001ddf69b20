//! The program as a process of its own: started, heard, signalled, never left behind.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that must happen. Long enough for a busy machine; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Out(String),
    Err(String),
}

impl Line {
    fn text(&self) -> &str {
        let (Self::Out(text) | Self::Err(text)) = self;
        text
    }
}

/// A running `orchestrator`. It is killed with this.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<Line>,
    /// What was heard so far.
    heard: Vec<Line>,
}

impl Program {
    /// Starts it with `arguments` and nothing in its environment but `PATH` and `environment`.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied());
        if !environment.iter().any(|(name, _)| *name == "PATH") {
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        }
        // Beside the workspaces, not where the host keeps its own.
        let given = |wanted: &str| environment.iter().find(|(name, _)| *name == wanted);
        if let (Some((_, workspaces)), None) = (given("WORKSPACES_ROOT"), given("ARTIFACTS_ROOT")) {
            command.env(
                "ARTIFACTS_ROOT",
                Path::new(workspaces).with_file_name("artifacts"),
            );
        }
        Self::spawn(command)
    }

    /// Starts any command.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        listen(child.stdout.take().unwrap(), Line::Out, sender.clone());
        listen(child.stderr.take().unwrap(), Line::Err, sender);
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for a line that holds `text` and answers with it. Fails when the process ends before.
    pub(crate) fn hear(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let Ok(line) = line else {
                panic!("never said {text:?}, but:\n{}", self.said());
            };
            self.heard.push(line.clone());
            if line.text().contains(text) {
                return line.text().to_owned();
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end and hears the rest.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let began = std::time::Instant::now();
        loop {
            while let Ok(line) = self.lines.try_recv() {
                self.heard.push(line);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                self.heard.extend(self.lines.iter());
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "does not end; said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything heard so far.
    pub(crate) fn said(&self) -> String {
        self.heard
            .iter()
            .map(|line| format!("{}\n", line.text()))
            .collect()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn out(&self) -> Vec<&str> {
        self.heard
            .iter()
            .filter_map(|line| {
                if let Line::Out(text) = line {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl Read + Send + 'static, kind: fn(String) -> Line, lines: Sender<Line>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(kind(line)).is_err() {
                return;
            }
        }
    });
}
