//! Signatures and templates of hooks against what nobody would send: made up and mutated for as long as there is
//! time. On stable Rust, so without coverage to lead it; the mutations begin at what is right instead.

use std::time::{Duration, Instant};

use orchestrator::domain::hook::event::Incoming;
use orchestrator::domain::hook::filter::why_not;
use orchestrator::domain::hook::template::render;
use orchestrator::domain::hook::{HookSpec, Options};
use orchestrator::domain::signature::{Generic, Headers, Provider, Scheme, standard, verify};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How long each target is tried.
#[expect(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// Tries cases of `strategy` until the time is over; proptest shrinks what fails, and prints it.
fn fuzz<S: Strategy>(strategy: S, target: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let over = Instant::now() + time();
    let mut cases = 0;
    while Instant::now() < over {
        let config = Config {
            cases: 256,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new(config);
        runner
            .run(&strategy, &target)
            .unwrap_or_else(|error| panic!("after {cases} cases: {error}"));
        cases += 256;
    }
    println!("{cases} cases");
}

fn provider() -> impl Strategy<Value = Provider> {
    use Provider::{Bearer, Github, Gitlab, Hmac, Standard, Stripe};
    prop::sample::select(vec![Github, Gitlab, Stripe, Standard, Hmac, Bearer])
}

/// Names that some provider reads, and values that look like theirs.
fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec![
        "X-Hub-Signature-256",
        "X-Gitlab-Token",
        "Stripe-Signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "svix-id",
        "svix-timestamp",
        "svix-signature",
        "Authorization",
        "X-Signature",
        "X-GitHub-Event",
        "X-GitHub-Delivery",
        "X-Gitlab-Event",
        "Idempotency-Key",
    ]);
    let value = prop_oneof![
        any::<String>(),
        "sha256=[0-9a-fA-F]{0,70}",
        "t=[-+]?[0-9]{0,20}(,v[01]=[0-9a-f]{0,66}){0,4}",
        "v1,[A-Za-z0-9+/=]{0,60}( v1a?,[A-Za-z0-9+/=]{0,60}){0,3}",
        Just(NOW.to_string()),
        "[Bb]earer .{0,50}",
    ];
    vec((name.prop_map(str::to_owned), value), 0..6)
}

#[test]
fn no_made_up_signature_passes_and_none_is_fatal() {
    fuzz(
        (provider(), headers(), vec(any::<u8>(), 0..200)),
        |(provider, headers, body)| {
            let scheme = Scheme {
                provider,
                tolerance_sec: 300,
                generic: &Generic::default(),
            };
            let headers: Headers = headers.into_iter().collect();
            let verdict = verify(scheme, &[SecretString::from(SECRET)], &headers, &body, NOW);
            prop_assert!(verdict.is_err(), "{provider:?} took it");
            Ok(())
        },
    );
}

#[test]
fn a_signature_passes_and_with_one_byte_changed_anywhere_it_does_not() {
    let strategy = (
        vec(any::<u8>(), 1..200),
        any::<prop::sample::Index>(),
        1..=255_u8,
        0..4_u8,
    );
    fuzz(strategy, |(body, place, change, what)| {
        let secrets = [SecretString::from(SECRET)];
        let signature = standard::sign(&secrets, "msg_1", NOW, &body);
        let scheme = Scheme {
            provider: Provider::Standard,
            tolerance_sec: 300,
            generic: &Generic::default(),
        };
        let check = |id: &str, time: &str, signature: &str, body: &[u8]| {
            let headers = [
                ("webhook-id", id),
                ("webhook-timestamp", time),
                ("webhook-signature", signature),
            ];
            verify(scheme, &secrets, &headers.into_iter().collect(), body, NOW)
        };
        let time = NOW.to_string();
        prop_assert_eq!(check("msg_1", &time, &signature, &body), Ok(()));
        let mutated = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = place.index(bytes.len());
            bytes[at] ^= change;
            String::from_utf8(bytes).ok()
        };
        let verdict = match what {
            0 => mutated("msg_1").map(|id| check(&id, &time, &signature, &body)),
            1 => mutated(&time).map(|time| check("msg_1", &time, &signature, &body)),
            2 => mutated(&signature).map(|signature| check("msg_1", &time, &signature, &body)),
            _ => {
                let mut body = body.clone();
                let at = place.index(body.len());
                body[at] ^= change;
                Some(check("msg_1", &time, &signature, &body))
            }
        };
        prop_assert!(verdict.is_none_or(|verdict| verdict.is_err()));
        Ok(())
    });
}

/// Any JSON, and texts that templates and programs would love to see.
fn payload() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "--upload-pack=touch /tmp/x",
            "$(id)",
            "`id`",
            "; rm -rf /",
            "{{ 7 * 7 }}",
            "{% for i in range(9) %}",
            "\"}],\"steps\":[{\"argv\":[\"id\"]}",
            "a\nb",
            "-rf",
            "refs/heads/main",
            "\u{202e}abc",
            "\0",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop::sample::select(vec![
            "ref", "after", "action", "type", "event", "id", "a", "payload",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn whatever_comes_in_a_template_makes_as_many_arguments_as_it_says_or_nothing() {
    let template = json!({
        "goal": "Deploy {{ payload.after }}", "tags": ["{{ event }}"],
        "steps": [
            {"step_id": "a", "argv": ["./deploy", "--", "{{ payload.ref }}", "{{ payload | tojson }}"]},
            {"step_id": "b", "argv": ["sh", "-c", "echo \"$1\"", "sh", "{{ branch or action or delivery_id }}"],
             "env": {"REF": "{{ payload.ref | default('none') }}"}},
        ],
    });
    let Value::Object(template) = template else {
        unreachable!("it is an object")
    };
    fuzz(
        (provider(), headers(), payload()),
        |(provider, headers, payload)| {
            let headers: Headers = headers.into_iter().collect();
            let incoming = Incoming::read(provider, &Options::default(), &headers, &payload);
            if let Ok(spec) = render(&template, "demo", &incoming, &payload) {
                let counts: Vec<usize> = spec.steps.iter().map(|step| step.argv.len()).collect();
                prop_assert_eq!(counts, [4, 5]);
                prop_assert_eq!(&spec.project_id, "demo");
                prop_assert_eq!(&spec.steps[0].argv[0], "./deploy");
                prop_assert_eq!(&spec.steps[1].argv[2], "echo \"$1\"");
            }
            Ok(())
        },
    );
}

#[test]
fn whatever_is_written_as_a_template_or_condition_is_taken_or_refused_in_bounded_time() {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " for i in range(999999) ",
        " endfor ",
        "payload",
        ".",
        "[0]",
        "|",
        "tojson",
        "urlencode",
        " if ",
        " else ",
        " endif ",
        "'",
        "\"",
        "(",
        ")",
        "*",
        " ** 9999",
        "~",
        "a",
        " in ",
        " not ",
        "=",
        "range(99999999)",
        " set x = ",
        "loop",
        "x * 10000000",
        " macro f() ",
        " include 'x' ",
        "\\",
        "\u{0}",
        "é",
    ]);
    let text = vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    fuzz((text.clone(), text, payload()), |(goal, when, payload)| {
        let hook = json!({
            "name": "n", "project_id": "demo", "provider": "bearer", "filter": {"when": when},
            "template": {"goal": goal, "steps": [{"step_id": "a", "argv": ["true", "--", goal]}]},
        });
        if let Ok(hook) = HookSpec::read(hook.to_string().as_bytes()) {
            let incoming = Incoming::read(
                Provider::Bearer,
                &Options::default(),
                &Headers::default(),
                &payload,
            );
            let _ = why_not(&hook.filter, &incoming, &payload);
            if let Ok(spec) = render(&hook.template, "demo", &incoming, &payload) {
                prop_assert_eq!(spec.steps[0].argv.len(), 3);
            }
        }
        Ok(())
    });
}
