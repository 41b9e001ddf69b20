//! `project` and `token`, as a person meets them.

use assert_cmd::Command;
use orchestrator::app::authenticate::{self, Tokens, authenticate};
use secrecy::SecretString;
use serde_json::Value;

use crate::support::{Database, ask, database};

struct Operator(Database);

impl Operator {
    async fn new() -> Self {
        Self(database().await)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.0.url.expose());
        command
    }

    fn out(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.out(arguments)).unwrap()
    }

    fn fault(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().code(1).stdout("");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }

    /// Whether a secret opens anything.
    async fn opens(&self, secret: &str) -> bool {
        let presented = SecretString::from(secret.trim().to_owned());
        match authenticate(&Tokens::of(&self.0.pool()), &presented).await {
            Ok(_) => true,
            Err(authenticate::Error::Unknown) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn project_is_made_shown_limited_listed_and_removed() {
    let operator = Operator::new().await;
    let made = operator.out(&["project", "create", "shop", "/srv/shop", "--max-running", "4"]);
    assert!(
        made.starts_with("project shop\n") && made.contains("at once      4"),
        "{made}"
    );

    let policy = r#"{"network":"deny","limits":{"memory_mb":512}}"#;
    operator.out(&[
        "project",
        "set",
        "shop",
        "--policy",
        policy,
        "--max-running",
        "none",
        "--sandbox",
        "off",
        "--max-daily-cost-usd",
        "12.50",
    ]);
    let said = operator.out(&["project", "show", "shop"]);
    assert!(said.contains("sandbox      OFF: an administrator"), "{said}");
    let shown = operator.json(&["project", "show", "shop", "--json"]);
    assert_eq!(shown["max_running"], Value::Null);
    assert_eq!(shown["policy"]["limits"]["memory_mb"], 512);
    assert_eq!(
        (&shown["sandbox"], &shown["max_daily_cost_usd"]),
        (&Value::Bool(false), &serde_json::json!(12.5))
    );
    assert_eq!(shown["directory"], "/srv/shop", "what was not named stays");

    let list = operator.out(&["project", "list"]);
    assert!(
        list.contains("shop") && list.contains("/srv/shop") && list.contains("no limit"),
        "{list}"
    );
    assert_eq!(operator.out(&["project", "rm", "shop"]), "project shop is gone\n");
    assert_eq!(
        operator.json(&["project", "list", "--json"]),
        serde_json::json!([])
    );
    let kinds = ask(
        &operator.0.pool(),
        "select string_agg(kind, ' ' order by id) from event",
    )
    .await;
    assert_eq!(kinds, "project.created project.changed project.removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn project_that_cannot_be_is_refused_by_what_is_wrong() {
    let operator = Operator::new().await;
    for (arguments, said) in [
        (&["create", "../up", "/srv"][..], "alias"),
        (
            &["create", "shop", "srv/shop"],
            "directory: must be an absolute path",
        ),
        (
            &["create", "shop", "/srv", "--max-running", "many"],
            "--max-running many: must be a number, or none",
        ),
        (&["create", "shop", "/srv", "--max-running", "0"], "max_running"),
        (
            &["create", "shop", "/srv", "--policy", "{"],
            "--policy: is not JSON",
        ),
        (
            &["create", "shop", "/srv", "--policy", r#"{"network":"allow"}"#],
            "NETWORK_POLICY=allow",
        ),
        (&["set", "shop"], "nothing is to be changed"),
        (
            &["set", "shop", "--description", "x"],
            "there is no project \"shop\"",
        ),
        (&["show", "shop"], "there is no project \"shop\""),
        (&["rm", "shop"], "there is no project \"shop\""),
    ] {
        let arguments = [&["project"], arguments].concat();
        let fault = operator.fault(&arguments);
        assert!(fault.contains(said), "{arguments:?}: {fault}");
    }
    operator.out(&["project", "create", "shop", "/srv/shop"]);
    let twice = operator.fault(&["project", "create", "shop", "/srv/other"]);
    assert!(twice.contains("already"), "{twice}");
    let spec = r#"{"goal":"g","project_id":"shop","steps":[{"step_id":"a","argv":["true"]}]}"#;
    operator
        .command(&["submit", "-"])
        .write_stdin(spec)
        .assert()
        .success();
    let kept = operator.fault(&["project", "rm", "shop"]);
    assert!(kept.contains("has jobs, schedules or the like"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_made_used_rotated_with_overlap_and_revoked() {
    let operator = Operator::new().await;
    operator.out(&["project", "create", "shop", "/srv/shop"]);
    let made = operator
        .command(&["token", "create", "ci", "--projects", "shop"])
        .assert()
        .success();
    let secret = String::from_utf8(made.get_output().stdout.clone()).unwrap();
    let note = String::from_utf8(made.get_output().stderr.clone()).unwrap();
    assert!(
        secret.starts_with("orc_") && secret.trim().len() == 42,
        "the secret and nothing else: {secret}"
    );
    assert!(
        note.contains("the only time its secret is shown") && !note.contains(secret.trim()),
        "{note}"
    );
    assert!(operator.opens(&secret).await);

    let listed = operator.json(&["token", "list", "--json"]);
    assert_eq!(listed[0]["scopes"], serde_json::json!(["submit", "read"]));
    assert_eq!(listed[0]["projects"], serde_json::json!(["shop"]));
    assert!(
        !listed.to_string().contains(secret.trim()),
        "a secret is shown once"
    );
    let id = listed[0]["id"].as_str().unwrap();

    let next = operator.out(&["token", "rotate", id, "--overlap-sec", "3600"]);
    assert!(
        operator.opens(&secret).await && operator.opens(&next).await,
        "both are good for an hour"
    );
    let rotated = operator.json(&["token", "rotate", id, "--overlap-sec", "0", "--json"]);
    assert_eq!(rotated["rotated_from"], id);
    assert!(
        !operator.opens(&secret).await,
        "without overlap the old one is over"
    );
    assert!(operator.opens(rotated["secret"].as_str().unwrap()).await);

    let last = rotated["id"].as_str().unwrap();
    let said = operator.out(&["token", "revoke", last]);
    assert_eq!(said, format!("token {last} (ci) is revoked\n"));
    assert!(!operator.opens(rotated["secret"].as_str().unwrap()).await);
    assert_eq!(
        operator.json(&["token", "revoke", last, "--json"])["state"],
        "revoked",
        "again changes nothing"
    );
    let list = operator.out(&["token", "list"]);
    for state in ["active", "expired", "revoked"] {
        assert!(list.contains(state), "no {state}: {list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_cannot_be_is_refused_by_what_is_wrong() {
    let operator = Operator::new().await;
    let unknown = "01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10";
    for (arguments, said) in [
        (&["create", "ci", "--projects", "nowhere"][..], "nowhere"),
        (
            &["create", "ci", "--projects", "*", "--scopes", "everything"],
            "scopes",
        ),
        (
            &[
                "create",
                "ci",
                "--projects",
                "*",
                "--expires-at",
                "2001-01-01T00:00:00Z",
            ],
            "expires_at",
        ),
        (&["rotate", unknown], "there is no token"),
        (&["rotate", unknown, "--overlap-sec", "999999999"], "overlap_sec"),
        (&["revoke", unknown], "there is no token"),
    ] {
        let arguments = [&["token"], arguments].concat();
        let fault = operator.fault(&arguments);
        assert!(fault.contains(said), "{arguments:?}: {fault}");
    }
    let without = operator.command(&["token", "create", "ci"]).assert().code(2);
    let usage = String::from_utf8(without.get_output().stderr.clone()).unwrap();
    assert!(usage.contains("--projects"), "{usage}");
}
