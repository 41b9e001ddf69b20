//! `hook`, `deliveries` and `callback-secret`, as a person meets them.

use std::io::Write as _;

use assert_cmd::Command;
use orchestrator::domain::seal::Keyring;
use orchestrator::store::project;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{Database, ask, database};

struct Operator {
    database: Database,
    key: String,
}

impl Operator {
    async fn new() -> Self {
        let database = database().await;
        project::put(&database.pool(), "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        let key = Keyring::generate().expose_secret().to_owned();
        Self { database, key }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        command
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.database.url.expose())
            .env("SECRETS_KEY", &self.key);
        command
    }

    fn out(&self, arguments: &[&str], input: &str) -> String {
        let assert = self.command(arguments).write_stdin(input).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    fn fault(&self, arguments: &[&str], input: &str) -> String {
        let assert = self
            .command(arguments)
            .write_stdin(input)
            .assert()
            .code(1)
            .stdout("");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }
}

fn description() -> Value {
    json!({"name": "deploy", "project_id": "demo", "provider": "github",
           "template": {"goal": "{{ event }}", "steps": [{"step_id": "a", "argv": ["true"]}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_is_put_shown_put_again_given_another_secret_and_removed() {
    let operator = Operator::new().await;
    let made = operator.out(&["hook", "put", "-"], &description().to_string());
    let secret = made
        .lines()
        .find_map(|line| line.strip_prefix("secret: "))
        .unwrap()
        .to_owned();
    assert!(
        made.starts_with("hook deploy: POST /hooks/deploy\n") && secret.len() == 64,
        "{made}"
    );
    let shown = operator.out(&["hook", "show", "deploy"], "");
    assert!(!shown.contains(&secret));
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    shown["enabled"] = json!(false);
    assert_eq!(
        operator.out(&["hook", "put", "-"], &shown.to_string()),
        "hook deploy: POST /hooks/deploy\n"
    );
    let list = operator.out(&["hook", "list"], "");
    assert!(list.lines().nth(1).unwrap().contains("paused"), "{list}");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "a secret of one's own").unwrap();
    let rotated = operator.out(
        &[
            "hook",
            "rotate",
            "deploy",
            "--secret-file",
            file.path().to_str().unwrap(),
        ],
        "",
    );
    assert!(!rotated.contains("secret"), "{rotated}");
    assert!(
        operator
            .out(&["hook", "deliveries", "deploy"], "")
            .contains("job or reason")
    );
    assert_eq!(
        operator.out(&["hook", "rm", "deploy"], ""),
        "hook deploy is gone\n"
    );
    assert!(
        operator
            .fault(&["hook", "show", "deploy"], "")
            .contains("there is no hook \"deploy\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_that_cannot_be_is_refused_by_path_and_one_without_a_key_by_what_to_set() {
    let operator = Operator::new().await;
    let mut wrong = description();
    wrong["template"]["steps"][0]["argv"] = json!(["{{ event }}"]);
    let said = operator.fault(&["hook", "put", "-"], &wrong.to_string());
    assert!(said.contains("template.steps[0].argv[0]"), "{said}");
    let mut command = operator.command(&["hook", "put", "-"]);
    let assert = command
        .env_remove("SECRETS_KEY")
        .write_stdin(description().to_string())
        .assert()
        .code(1);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("SECRETS_KEY"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_listed_shown_and_sent_again() {
    let operator = Operator::new().await;
    let spec = json!({"goal": "g", "project_id": "demo", "callback_url": "https://example.com/", "steps": [{"step_id": "a", "argv": ["true"]}]});
    let job = operator.out(&["submit", "-"], &spec.to_string());
    operator.out(&["cancel", job.trim()], "");
    let pool = operator.database.pool();
    let id = ask(&pool, "select id from delivery").await;
    let list = operator.out(&["deliveries", "--state", "pending", "--job", job.trim()], "");
    assert!(list.contains(&id) && list.contains("pending"), "{list}");
    assert_eq!(
        operator
            .out(&["deliveries", "--state", "dead"], "")
            .lines()
            .count(),
        1
    );
    let shown = operator.out(&["deliveries", "show", &id], "");
    assert!(
        shown.starts_with(&format!("callback {id} of job {}", job.trim())),
        "{shown}"
    );
    operator.out(&["deliveries", "redeliver", &id], "");
    assert_eq!(
        ask(
            &pool,
            "select actor from event where kind = 'delivery.sent_again'"
        )
        .await,
        "cli"
    );
    let none = "01980000-0000-7000-8000-000000000000";
    assert!(
        operator
            .fault(&["deliveries", "show", none], "")
            .contains("there is no callback")
    );

    let first = operator.out(&["callback-secret", "demo"], "");
    assert!(
        first.starts_with("secret: whsec_") && !first.contains("The one before"),
        "{first}"
    );
    let second = operator.out(&["callback-secret", "demo", "--overlap-sec", "60"], "");
    assert!(second.contains("The one before signs as well until"), "{second}");
    assert!(
        operator
            .fault(&["callback-secret", "nowhere"], "")
            .contains("there is no project \"nowhere\"")
    );
}

#[test]
fn every_hook_of_the_guide_is_one() {
    let guide = include_str!("../../../docs/WEBHOOKS.md");
    let blocks = guide
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let hooks: Vec<&str> = blocks.filter(|block| block.contains("\"provider\"")).collect();
    assert_eq!(hooks.len(), 4);
    for hook in hooks {
        let read = orchestrator::domain::hook::HookSpec::read(hook.as_bytes());
        assert!(read.is_ok(), "{hook}: {:?}", read.unwrap_err());
    }
}
