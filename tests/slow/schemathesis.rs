//! schemathesis, which reads the document and asks for everything it describes and much that it does not.

use crate::developer::{Developer, script};

/// Runs it for some seconds with the operations that `which` names. `SCHEMATHESIS_SECONDS` and `SCHEMATHESIS_SEED` make it
/// longer and different.
#[expect(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn run(seconds: &str, which: &[&str]) {
    let developer = Developer::start(&[]);
    let seed = std::env::var("SCHEMATHESIS_SEED").unwrap_or_else(|_| "1".to_owned());
    let document = format!("{}/openapi.json", developer.url);
    let token = format!("Authorization: Bearer {}", developer.token);
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slow/schemathesis.toml");
    let mut arguments = vec!["--config-file", settings, "run", &document, "--header", &token];
    arguments.extend([
        "--max-time",
        seconds,
        "--seed",
        &seed,
        "--max-examples",
        "1000",
        // One at a time: what another worker deletes would be missed here.
        "--workers",
        "1",
        "--no-color",
    ]);
    arguments.extend(which);
    println!("{}", script("schemathesis", &arguments));
}

/// What may end the token that everything is asked with.
const ENDS_TOKENS: [&str; 4] = [
    "--exclude-operation-id",
    "revokeToken",
    "--exclude-operation-id",
    "rotateToken",
];

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn schemathesis_finds_no_failure_and_no_answer_outside_of_the_document() {
    let seconds = std::env::var("SCHEMATHESIS_SECONDS").unwrap_or_else(|_| "90".to_owned());
    run(&seconds, &ENDS_TOKENS);
}

#[test]
fn schemathesis_finds_no_failure_where_tokens_are_revoked_and_rotated() {
    let which = [
        "--include-operation-id",
        "revokeToken",
        "--include-operation-id",
        "rotateToken",
    ];
    run("15", &which);
}
