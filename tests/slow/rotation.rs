//! Debian's logrotate, with the file that is shipped, and a service that writes on.

use std::fs::{File, OpenOptions, read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::{Scratch, database, scratch, until};

/// A service whose log is a file, as systemd opens it for `StandardError=append:`.
struct Logging(Child);

impl Logging {
    fn start(file: &Path, url: &str) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(file).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .args(["api", "--bind", "127.0.0.1:0", "--log-json"])
            .env_clear()
            .env("DATABASE_URL", url)
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file that is shipped, for another directory.
fn configuration(directory: &Scratch) -> PathBuf {
    let logs = directory.join("logs");
    std::fs::create_dir(&logs).unwrap();
    let shipped = include_str!("../../deploy/logrotate/orchestrator");
    let text = shipped.replace("/var/log/orchestrator", logs.to_str().unwrap());
    assert_ne!(text, shipped);
    let file = directory.join("rotate");
    std::fs::write(&file, text).unwrap();
    logs
}

fn rotate(directory: &Scratch) -> Result<(), String> {
    let output = Command::new("logrotate")
        .args(["--force", "--state"])
        .args([directory.join("state"), directory.join("rotate")])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("logrotate is missing: install Debian's package logrotate");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The rotated files, by name.
fn rotated(logs: &Path) -> Vec<String> {
    let names = read_dir(logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "api.log").collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn service_goes_on_writing_into_the_new_file_after_its_log_was_rotated() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (database, directory) = (database().await, scratch());
    let logs = configuration(&directory);
    let log = logs.join("api.log");
    let _service = Logging::start(&log, database.url.expose());
    let address = until(async || {
        let text = read_to_string(&log).ok()?;
        let line = text
            .lines()
            .find(|line| line.contains("API listening"))?
            .to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        Some(line["http.address"].as_str().unwrap().to_owned())
    })
    .await;
    let request = async |id: &str| {
        let client = reqwest::Client::new().get(format!("http://{address}/openapi.json"));
        assert_eq!(
            client.header("x-request-id", id).send().await.unwrap().status(),
            200
        );
        // The line is written before the answer, but by another thread.
        until(async || read_to_string(&log).unwrap().contains(id).then_some(())).await;
    };
    request("first").await;
    rotate(&directory).unwrap();
    let old = rotated(&logs);
    let [old] = old.as_slice() else { panic!("{old:?}") };
    assert!(read_to_string(logs.join(old)).unwrap().contains("first"));
    request("second").await;
    let text = read_to_string(&log).unwrap();
    // From its beginning, without a hole where the old text was.
    assert!(text.starts_with('{') && !text.contains("first"), "{text:?}");
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{text:?}"
    );
    // The next time, the one before is packed.
    until(async || {
        // Within the same second it has no name for it, and says so.
        let _ = rotate(&directory);
        let names = rotated(&logs);
        names.iter().any(|name| name.ends_with(".gz")).then_some(())
    })
    .await;
    assert!(File::open(&log).is_ok());
}
