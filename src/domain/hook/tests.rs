//! What a hook may say, and what a sender can make of it.

#![expect(clippy::needless_pass_by_value, reason = "tests hand over what `json!` makes")]

use proptest::prelude::*;
use serde_json::json;

use super::event::Incoming;
use super::*;
use crate::domain::signature::Headers;
use crate::domain::spec::JobSpec;

fn hook(fields: Value) -> Value {
    let mut hook = json!({
        "name": "deploy", "project_id": "demo", "provider": "github",
        "template": {"goal": "g", "steps": [{"step_id": "a", "argv": ["true"]}]},
    });
    let Value::Object(fields) = fields else {
        panic!("an object")
    };
    hook.as_object_mut().unwrap().extend(fields);
    hook
}

fn wrong(fields: Value) -> Vec<String> {
    let read = HookSpec::read(hook(fields).to_string().as_bytes());
    let wrong = read.err().unwrap_or_default();
    wrong.into_iter().map(|violation| violation.path).collect()
}

fn argv(argv: Value) -> Value {
    json!({"template": {"goal": "g", "steps": [{"step_id": "a", "argv": argv}]}})
}

fn render(template: Value, payload: Value) -> Result<JobSpec, Vec<Violation>> {
    let Value::Object(template) = template else {
        panic!("an object")
    };
    let incoming = Incoming {
        event: Some("push".into()),
        branch: payload["ref"].as_str().map(str::to_owned),
        ..Incoming::default()
    };
    template::render(&template, "demo", &incoming, &payload)
}

#[test]
fn hook_that_cannot_work_is_refused_with_the_path_of_what_is_wrong() {
    assert_eq!(wrong(json!({})), [""; 0]);
    for (fields, path) in [
        (json!({"name": "a/b"}), "name"),
        (json!({"provider": "slack"}), "provider"),
        (json!({"secret": "x"}), "secret"),
        (json!({"options": {"algorithm": "sha1"}}), "options"),
        (
            json!({"provider": "stripe", "filter": {"branches": ["main"]}}),
            "filter",
        ),
        (json!({"filter": {"when": "payload.a =="}}), "filter.when"),
        (json!({"filter": {"events": ["[a"]}}), "filter.events[0]"),
        (
            json!({"provider": "hmac", "options": {"signature_header": "a b"}}),
            "options.signature_header",
        ),
        (
            json!({"template": {"goal": "{{ payload.x", "steps": []}}),
            "template.goal",
        ),
        (
            json!({"template": {"goal": "g", "project_id": "other"}}),
            "template.project_id",
        ),
        (
            json!({"template": {"goal": "g", "gaol": "{{ event }}"}}),
            "template.gaol",
        ),
        (
            json!({"template": {"goal": "g", "priority": "{{ payload.p }}"}}),
            "template.priority",
        ),
        (json!({"template": {"goal": "", "steps": []}}), "template.goal"),
        (
            argv(json!(["{{ payload.program }}"])),
            "template.steps[0].argv[0]",
        ),
        (
            json!({"template": {"goal": "{% include 'etc/passwd' %}"}}),
            "template.goal",
        ),
        (
            json!({"template": {"goal": "{% macro m() %}{% endmacro %}"}}),
            "template.goal",
        ),
    ] {
        assert_eq!(wrong(fields.clone()), [path], "{fields}");
    }
}

#[test]
fn sender_writes_no_code_for_an_interpreter() {
    let x = "{{ payload.x }}";
    for refused in [
        json!(["sh", "-c", x]),
        json!(["/bin/bash", "-euc", format!("echo {x}")]),
        json!(["env", "A=b", "bash", "-c", x]),
        json!(["timeout", "5", "python3.12", "-c", x]),
        json!(["node", "--eval", x]),
        json!(["node", format!("--eval={x}")]),
        json!(["perl", "-e", x]),
    ] {
        let index = refused.as_array().unwrap().len() - 1;
        assert_eq!(wrong(argv(refused)), [format!("template.steps[0].argv[{index}]")]);
    }
    for allowed in [
        json!(["sh", "-c", "echo \"$1\"", "sh", x]),
        json!(["python3", "deploy.py", x]),
        json!(["git", "-c", x, "fetch"]),
        json!(["./deploy", format!("--branch={x}")]),
    ] {
        assert_eq!(wrong(argv(allowed.clone())), [""; 0], "{allowed}");
    }
}

#[test]
fn what_a_sender_writes_is_one_text_whatever_it_looks_like() {
    let template = json!({"goal": "Build {{ branch }}", "steps": [
        {"step_id": "a", "argv": ["./build", "{{ branch }}", "at {{ payload.after|upper }}"], "env": {"BRANCH": "{{ branch }}"}}]});
    for hostile in [
        "main; rm -rf /",
        "$(id)",
        "`id`",
        "a b",
        "a\nb",
        "\"], \"env\": {\"A\": \"b\"}}, {\"step_id\": \"b\", \"argv\": [\"id\"",
        "{{ 7 * 7 }}",
        "{% for x in range(9) %}x{% endfor %}",
        "'",
        "é\u{202e}",
    ] {
        let spec = render(template.clone(), json!({"ref": hostile, "after": "abc"})).unwrap();
        assert_eq!(spec.steps.len(), 1);
        assert_eq!(spec.steps[0].argv, ["./build", hostile, "at ABC"]);
        assert_eq!(spec.steps[0].env["BRANCH"], hostile);
        assert_eq!(
            (spec.project_id.as_str(), spec.goal),
            ("demo", format!("Build {hostile}"))
        );
    }
}

#[test]
fn text_of_a_sender_does_not_become_an_option() {
    let template = |argv: Value| json!({"goal": "g", "steps": [{"step_id": "a", "argv": argv}]});
    let payload = json!({"ref": "--upload-pack=id"});
    let refused = render(template(json!(["git", "fetch", "{{ branch }}"])), payload.clone()).unwrap_err();
    assert_eq!(refused[0].path, "template.steps[0].argv[2]");
    let dash = render(template(json!(["cat", "{{ branch }}"])), json!({"ref": "-"})).unwrap_err();
    assert_eq!(dash[0].path, "template.steps[0].argv[1]");
    for argv in [
        json!(["git", "fetch", "--", "{{ branch }}"]),
        json!(["git", "fetch", "origin/{{ branch }}"]),
        json!(["git", "fetch", "--ref={{ branch }}"]),
    ] {
        assert!(render(template(argv.clone()), payload.clone()).is_ok(), "{argv}");
    }
}

#[test]
fn what_is_not_there_is_an_error_and_never_an_empty_text() {
    for goal in [
        "{{ payload.nothing }}",
        "{{ payload.a.b }}",
        "{{ payload.none }}",
        "{{ nothing }}",
        "{{ action }}",
    ] {
        let refused = render(json!({"goal": goal}), json!({"a": {}, "none": null})).unwrap_err();
        assert_eq!(refused[0].path, "template.goal", "{goal}");
    }
    let spec = render(
        json!({"goal": "{{ payload.nothing|default('x') }}{{ payload.none or 'y' }}"}),
        json!({"none": null}),
    );
    assert_eq!(spec.unwrap().goal, "xy");
}

#[test]
fn rendered_job_is_checked_like_every_other() {
    let refused = render(
        json!({"goal": "g", "queue": "{{ branch }}"}),
        json!({"ref": "a/b"}),
    )
    .unwrap_err();
    assert_eq!(refused[0].path, "template.queue");
    let nul = render(json!({"goal": "{{ branch }}"}), json!({"ref": "a\0b"})).unwrap_err();
    assert_eq!(nul[0].path, "template.goal");
}

#[test]
fn template_that_would_take_for_ever_or_all_memory_is_stopped() {
    for goal in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ payload.long * 1000 }}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    ] {
        let refused = render(json!({"goal": goal}), json!({"long": "y".repeat(100_000)})).unwrap_err();
        assert!(
            refused[0].message.contains("takes too long or makes too much"),
            "{goal}: {refused:?}"
        );
    }
}

#[test]
fn events_branches_and_conditions_choose() {
    let decide = |filter: Value, event: &str, payload: Value| {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        let headers: Headers = [("X-GitHub-Event", event)].into_iter().collect();
        let incoming = Incoming::read(Provider::Github, &Options::default(), &headers, &payload);
        filter::why_not(&filter, &incoming, &payload)
    };
    let push = || json!({"ref": "refs/heads/release/1", "deleted": false});
    let pull = || json!({"action": "opened", "pull_request": {"base": {"ref": "main"}, "draft": true}});
    for (filter, event, payload, passes) in [
        (json!({}), "anything", json!({}), true),
        (json!({"events": ["push"]}), "push", push(), true),
        (json!({"events": ["push"]}), "pull_request", pull(), false),
        (
            json!({"events": ["pull_request.opened"]}),
            "pull_request",
            pull(),
            true,
        ),
        (
            json!({"events": ["pull_request.closed"]}),
            "pull_request",
            pull(),
            false,
        ),
        (json!({"events": ["pull_*"]}), "pull_request", pull(), true),
        (json!({"branches": ["main"]}), "pull_request", pull(), true),
        (json!({"branches": ["release/*"]}), "push", push(), true),
        (json!({"branches": ["*"]}), "push", push(), false),
        (json!({"branches": ["**"]}), "push", push(), true),
        (
            json!({"branches": ["**"]}),
            "push",
            json!({"ref": "refs/tags/v1"}),
            false,
        ),
        (json!({"branches": ["**"]}), "star", json!({}), false),
        (json!({"when": "not payload.deleted"}), "push", push(), true),
        (
            json!({"when": "payload.pull_request.draft == false"}),
            "pull_request",
            pull(),
            false,
        ),
        (
            json!({"when": "event == 'push' and branch in ['release/1']"}),
            "push",
            push(),
            true,
        ),
    ] {
        let decided = decide(filter.clone(), event, payload);
        assert_eq!(decided.clone().unwrap().is_none(), passes, "{filter} {decided:?}");
    }
    // Nobody knows what was meant: that is no answer of yes or no.
    assert!(decide(json!({"when": "payload.deleted == 1"}), "star", json!({})).is_err());
    assert!(decide(json!({"when": "payload.deleted"}), "star", json!({})).is_err());
}

#[test]
fn what_happened_is_read_where_each_provider_writes_it() {
    let read = |provider, options: Value, headers: &[(&str, &str)], payload: Value| {
        let options: Options = serde_json::from_value(options).unwrap();
        let incoming = Incoming::read(provider, &options, &headers.iter().copied().collect(), &payload);
        let words = [
            incoming.event,
            incoming.action,
            incoming.branch,
            incoming.delivery,
        ];
        words.map(Option::unwrap_or_default).join(" ")
    };
    let merge = json!({"object_kind": "merge_request", "object_attributes": {"action": "open", "target_branch": "main"}});
    let gitlab = [("X-Gitlab-Event-UUID", "u"), ("Idempotency-Key", "k")];
    assert_eq!(
        read(Provider::Gitlab, json!({}), &gitlab, merge),
        "merge_request open main k"
    );
    let push = json!({"object_kind": "push", "ref": "refs/heads/x"});
    assert_eq!(read(Provider::Gitlab, json!({}), &gitlab[..1], push), "push  x u");
    let stripe = json!({"id": "evt_1", "type": "invoice.paid"});
    assert_eq!(
        read(Provider::Stripe, json!({}), &[], stripe),
        "invoice.paid   evt_1"
    );
    let standard = [("webhook-id", "msg_1")];
    assert_eq!(
        read(Provider::Standard, json!({}), &standard, json!({"type": "a.b"})),
        "a.b   msg_1"
    );
    let own = json!({"event_header": "X-Event", "delivery_header": "X-Id"});
    let headers = [("x-event", "built"), ("x-id", "7")];
    assert_eq!(
        read(Provider::Hmac, own, &headers, json!({"branch": "b"})),
        "built  b 7"
    );
    // An id that is no id is none: it could not be told apart from others.
    let odd = [("Idempotency-Key", "a b")];
    assert_eq!(
        read(Provider::Bearer, json!({}), &odd, json!({"event": "e"})),
        "e   "
    );
}

#[test]
fn secret_of_a_hook_is_long_enough_and_of_its_scheme() {
    assert!(check_secret(Provider::Github, "12345678").is_ok());
    assert!(check_secret(Provider::Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    assert!(check_secret(Provider::Gitlab, "a plain token").is_ok());
    for (provider, bad) in [
        (Provider::Github, "1234567"),
        (Provider::Github, "tabs\tand\nlines"),
        (Provider::Standard, "a plain token"),
        (Provider::Standard, "whsec_c2hvcnQ="),
        (Provider::Gitlab, "whsec_not base64"),
    ] {
        assert!(check_secret(provider, bad).is_err(), "{bad}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[-{}%\"'$`;|&<>\\\\\n ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_template_or_condition_panics(text in "(\\{\\{|\\{%|%\\}|\\}\\}|[a-z.|~*+()\\[\\]'\" 0-9]|payload|for|in|if|set|end|\\PC){0,24}", payload in json_value()) {
        let _ = render(json!({"goal": text}), payload.clone());
        let filter = Filter { when: Some(text), ..Filter::default() };
        let _ = filter::why_not(&filter, &Incoming::default(), &payload);
    }

    #[test]
    fn no_payload_changes_the_shape_of_a_job(payload in json_value()) {
        let template = json!({"goal": "g", "steps": [{"step_id": "a", "argv": ["printf", "%s", "--", "{{ payload }}", "x{{ payload|tojson }}y"]}]});
        let Ok(spec) = render(template, payload) else { return Ok(()) };
        prop_assert_eq!(spec.steps.len(), 1);
        prop_assert_eq!(spec.steps[0].argv.len(), 5);
        prop_assert_eq!(&spec.steps[0].argv[..3], ["printf", "%s", "--"]);
        prop_assert!(spec.steps[0].env.is_empty());
    }

    #[test]
    fn no_payload_panics_when_it_is_read(payload in json_value(), header in "\\PC{0,40}") {
        for provider in [Provider::Github, Provider::Gitlab, Provider::Stripe, Provider::Standard, Provider::Hmac, Provider::Bearer] {
            let headers = ["X-GitHub-Event", "X-GitHub-Delivery", "webhook-id", "Idempotency-Key"];
            let headers: Headers = headers.into_iter().map(|name| (name, header.clone())).collect();
            let _ = Incoming::read(provider, &Options::default(), &headers, &payload);
        }
    }
}
