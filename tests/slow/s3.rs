//! Artifacts in a bucket of a real S3 server.

use std::path::Path;
use std::process::Command;

use orchestrator::objects::{Bucket, Credentials, Objects};
use orchestrator::store::project;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{Program, ask, database, scratch, until};

/// A server on a free port, with a bucket.
struct Server {
    _program: Program,
    endpoint: String,
}

impl Server {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3");
        // However long it takes to come here from its index.
        let installed = Command::new(&script).arg("install").status().unwrap();
        assert!(installed.success());
        let mut command = Command::new(script);
        command.arg(port.to_string()).env("PYTHONUNBUFFERED", "1");
        let program = Program::spawn(command);
        let endpoint = format!("http://127.0.0.1:{port}");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        until(async || {
            let made = http.put(format!("{endpoint}/artifacts")).send().await;
            made.is_ok_and(|made| made.status().is_success()).then_some(())
        })
        .await;
        Self {
            _program: program,
            endpoint,
        }
    }

    fn objects(&self) -> Objects {
        Objects::bucket(&Bucket {
            name: "artifacts".into(),
            prefix: "some/where".into(),
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".into(),
            credentials: Some(Credentials {
                id: "test".into(),
                secret: SecretString::from("test"),
                token: None,
            }),
        })
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_bucket_are_written_read_in_part_and_deleted() {
    let server = Server::start().await;
    let objects = server.objects();
    let written = objects.put("a/one.md", b"0123456789").await.unwrap();
    assert_eq!(written.size, 10);
    let large = scratch().with_file_name(format!("large-{}", std::process::id()));
    std::fs::write(&large, vec![7; 20 * 1024 * 1024]).unwrap();
    let written = objects
        .put_file("a/large", std::fs::File::open(&large).unwrap())
        .await
        .unwrap();
    std::fs::remove_file(&large).unwrap();
    assert_eq!(written.size, 20 * 1024 * 1024);
    objects.put("ab/two", b"two").await.unwrap();
    let part = objects.open("a/one.md", Some(2..5)).await.unwrap().unwrap();
    assert_eq!(part.size, 10);
    let bytes: Vec<bytes::Bytes> = futures_util::TryStreamExt::try_collect(part.bytes).await.unwrap();
    assert_eq!(bytes.concat(), b"234");
    assert_eq!(objects.copy("a/large", "a/copy").await.unwrap(), written);
    assert!(objects.open("a/none", None).await.unwrap().is_none());
    objects.delete_all("a").await.unwrap();
    assert!(objects.open("a/large", None).await.unwrap().is_none());
    assert_eq!(objects.read("ab/two", 10).await.unwrap().unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_its_artifacts_in_a_bucket_and_the_command_line_gets_them() {
    let server = Server::start().await;
    let database = database().await;
    let pool = database.pool();
    let directory = scratch();
    let workspaces = directory.join("workspaces");
    let source = directory.join("project");
    std::fs::create_dir(&source).unwrap();
    project::put(&pool, "demo", source.to_str().unwrap(), "administrator")
        .await
        .unwrap();
    let environment = [
        ("DATABASE_URL", database.url.expose()),
        ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
        ("SANDBOX", "off"),
        ("ARTIFACTS_S3_BUCKET", "artifacts"),
        ("ARTIFACTS_S3_ENDPOINT", &server.endpoint),
        ("ARTIFACTS_S3_PREFIX", "some/where"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("ARTIFACTS_TTL_SEC", "1"),
        ("RETENTION_INTERVAL_SEC", "0.2"),
    ];
    let mut doctor = Program::start(&["doctor"], &environment);
    doctor.end();
    assert!(
        doctor
            .said()
            .contains("OK    artifacts     bucket artifacts answers"),
        "{}",
        doctor.said()
    );
    let mut elsewhere = environment;
    elsewhere[3].1 = "no-such-bucket";
    let mut doctor = Program::start(&["doctor"], &elsewhere);
    assert_eq!(doctor.end().code(), Some(2));
    assert!(
        doctor
            .said()
            .contains("FAIL  artifacts     bucket no-such-bucket cannot be used"),
        "{}",
        doctor.said()
    );
    let mut runner = Program::start(&["runner"], &environment);
    runner.hear("runner session open");
    let spec = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": ["sh", "-c", "echo hello; echo new > file"] }] });
    let file = directory.join("job.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    let mut submit = Program::start(&["submit", file.to_str().unwrap()], &environment);
    assert!(submit.end().success(), "{}", submit.said());
    until(async || (ask(&pool, "select state from job").await == "succeeded").then_some(())).await;
    let job = ask(&pool, "select id from job").await;
    let mut print = Program::start(&["artifacts", &job, "patch.diff"], &environment);
    assert!(print.end().success(), "{}", print.said());
    assert!(print.said().contains("+new"), "{}", print.said());
    assert!(
        !directory.join("artifacts").exists(),
        "something is in a directory as well"
    );
    let bytes = server
        .objects()
        .read(&format!("{job}/steps/a/logs.txt"), 100)
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8(bytes).unwrap().ends_with("hello\n"));
    // The scheduler takes them from there when they are past their time.
    let mut scheduler = Program::start(&["scheduler"], &environment);
    scheduler.hear("scheduler running");
    until(async || (ask(&pool, "select count(*) from artifact").await == "0").then_some(())).await;
    assert!(
        server
            .objects()
            .open(&format!("{job}/result.json"), None)
            .await
            .unwrap()
            .is_none()
    );
}
