//! A client generated from the document, by a generator of others, against a real server and runner.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::developer::{Developer, script};

#[test]
fn a_generated_client_makes_project_token_schedule_and_job_and_follows_it_to_its_end() {
    let developer = Developer::start(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Where Node finds what the lock file names.
    script("js", &["node", "--version"]);
    let here = root.join("target/js/client");
    fs::create_dir_all(&here).unwrap();
    fs::copy(root.join("tests/js/client.ts"), here.join("client.ts")).unwrap();
    let at = |name: &str| here.join(name).to_str().unwrap().to_owned();
    let document = format!("{}/openapi.json", developer.url);
    script(
        "js",
        &[
            "openapi-typescript",
            &document,
            // What has a default may be left out.
            "--default-non-nullable",
            "false",
            "--output",
            &at("schema.ts"),
        ],
    );
    script(
        "js",
        &[
            "tsc",
            "--noEmit",
            "--strict",
            "--target",
            "esnext",
            "--module",
            "nodenext",
            "--lib",
            "esnext,dom",
            "--allowImportingTsExtensions",
            "--skipLibCheck",
            &at("client.ts"),
        ],
    );
    let source = developer.directory.join("shop");
    fs::create_dir(&source).unwrap();
    let source = source.to_str().unwrap();
    let said = script(
        "js",
        &["node", &at("client.ts"), &developer.url, &developer.token, source],
    );
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        json!({
            "project": "shop", "schedule": "nightly", "end": "succeeded", "printed": "hello\ngood bye\n",
            "job": "succeeded", "steps": ["greet succeeded", "leave succeeded"], "found": [true],
            "triggered": "fired", "refused": [422, "invalid_body", "goal"],
        })
    );
}
