//! What a job leaves behind says the same wherever it is read.

use serde_json::{Value, json};

use super::runner::Ground;
use super::workspace::shell;
use crate::support::ask;

#[tokio::test]
async fn artifacts_say_the_same_as_the_tables_and_rows_say_the_same_as_files() {
    let ground = Ground::bare(&[]).await;
    let (job, end) = ground
        .steps(&[
            (
                "speak",
                "printf '\\033[31mred\\033[0m\\n'; echo kept > file",
                json!({}),
            ),
            ("fail", "echo no >&2; exit 3", json!({})),
        ])
        .await;
    assert_eq!(end, "failed exit_nonzero");
    let document = serde_json::to_value(orchestrator::api::document()).unwrap();
    let schemas = &document["components"]["schemas"];
    let result: Value = serde_json::from_slice(&ground.artifact(job, "steps/fail/result.json")).unwrap();
    fits(&result, &schemas["StepResult"], schemas);
    assert_eq!(
        (&result["status"], &result["code"], &result["exit_code"]),
        (&json!("failed"), &json!("exit_nonzero"), &json!(3))
    );
    let result: Value = serde_json::from_slice(&ground.artifact(job, "result.json")).unwrap();
    fits(&result, &schemas["JobResult"], schemas);
    assert_eq!(
        (&result["state"], &result["steps"][0]["status"]),
        (&json!("failed"), &json!("succeeded"))
    );
    assert_eq!(result["steps"].as_array().unwrap().len(), 2);
    assert_eq!(
        ground.artifact(job, "steps/speak/logs.txt"),
        b"SANDBOX=off: steps run without a sandbox\nred\n"
    );
    assert!(
        String::from_utf8(ground.artifact(job, "logs.txt"))
            .unwrap()
            .ends_with("red\nno\nstep fail: `sh` exited with code 3; the log of the step says why.\n")
    );
    assert!(
        String::from_utf8(ground.artifact(job, "report.md"))
            .unwrap()
            .contains("## Step fail: failed")
    );
    for name in ["job.json", "context.json"] {
        let _: Value = serde_json::from_slice(&ground.artifact(job, name)).unwrap();
    }
    let rows = ask(&ground.pool, &format!("select string_agg(path || ' ' || size || ' ' || encode(sha256, 'hex'), E'\\n' order by path collate \"C\") from artifact where job_id = '{job}'")).await;
    let files = format!(
        "cd artifacts/{job} && find . -type f | sed 's,^./,,' | LC_ALL=C sort | while read -r f; do echo \"$f $(stat -c %s $f) $(sha256sum < $f | cut -d ' ' -f 1)\"; done > ../listed"
    );
    shell(&ground.directory, &files);
    assert_eq!(
        rows,
        std::fs::read_to_string(ground.directory.join("artifacts/listed"))
            .unwrap()
            .trim_end()
    );
}

/// Every field that must be there is, none that is not known is, and each is of its kind.
fn fits(value: &Value, schema: &Value, schemas: &Value) {
    let fields = value.as_object().unwrap();
    let known = schema["properties"].as_object().unwrap();
    for needed in schema["required"].as_array().unwrap() {
        assert!(
            fields.contains_key(needed.as_str().unwrap()),
            "{needed} in {value}"
        );
    }
    for (name, value) in fields {
        let field = known
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in {schema}"));
        let kinds: Vec<&str> = match &field["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(kinds.contains(&kind), "{name}: {value} is no {kinds:?}");
        if let (Value::Array(items), Some(of)) = (value, field["items"]["$ref"].as_str()) {
            let of = &schemas[of.rsplit('/').next().unwrap()];
            items.iter().for_each(|item| fits(item, of, schemas));
        }
    }
}
