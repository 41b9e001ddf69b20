//! The checked-in document is the one this program serves, and it is whole.

use std::path::Path;

use orchestrator::api::document;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
fn the_checked_in_document_is_the_one_the_code_makes() {
    let made = format!("{}\n", document().to_pretty_json().unwrap());
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    if made != kept {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        std::fs::write(&beside, made).unwrap();
        panic!(
            "openapi/openapi.json is out of date: run `just openapi` (the new one is at {})",
            beside.display()
        );
    }
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect()
}

#[test]
fn every_operation_says_what_it_is_and_what_it_can_answer() {
    let document = serde_json::to_value(document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    for (name, operation) in operations(&document) {
        for field in ["operationId", "summary", "description"] {
            let text = operation[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {field}");
        }
        assert!(
            ids.insert(operation["operationId"].to_string()),
            "{name} takes an operationId twice"
        );
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.contains_key("500"), "{name} does not document 500");
        for (status, answer) in answers {
            // Neither of the first two has a body; what is no HTTP request is seen by no handler, which could describe it.
            if ["204", "304", "400"].contains(&status.as_str()) {
                continue;
            }
            assert!(answer["content"].is_object(), "{name} {status} has no content");
            if status.starts_with(['4', '5']) {
                let problem = &answer["content"]["application/problem+json"];
                assert_eq!(
                    problem["schema"]["$ref"], "#/components/schemas/Problem",
                    "{name} {status}"
                );
                assert!(problem["examples"].is_object(), "{name} {status} has no examples");
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                parameter["description"].is_string(),
                "{name}: {}",
                parameter["name"]
            );
        }
    }
}

/// The schema itself, or the one it refers to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[test]
fn every_parameter_has_bounds_and_only_a_required_one_a_value_to_begin_with() {
    let document = serde_json::to_value(document()).unwrap();
    for (name, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let what = format!("{name}: {}", parameter["name"]);
            let schema = resolved(&document, &parameter["schema"]);
            let bounds = ["enum", "pattern", "maxLength", "maximum", "format"];
            let is_bounded =
                bounds.iter().any(|bound| !schema[bound].is_null()) || schema["type"] == "boolean";
            assert!(is_bounded, "{what} has no bounds");
            let has_example = !parameter["example"].is_null() || !schema["example"].is_null();
            match parameter["required"] == true {
                true => assert!(has_example || schema["format"] == "uuid", "{what} has no example"),
                // Swagger UI would fill it in, and send what nobody chose.
                false => assert!(parameter["example"].is_null(), "{what} has an example"),
            }
        }
    }
}

#[test]
fn every_body_has_a_worked_example_and_none_of_its_texts_is_empty() {
    fn empty(value: &Value) -> bool {
        match value {
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.iter().any(empty),
            Value::Object(map) => map.values().any(empty),
            _ => false,
        }
    }
    let document = serde_json::to_value(document()).unwrap();
    for (name, operation) in operations(&document) {
        let answers = operation["responses"].as_object().unwrap();
        let answers = answers.iter().filter(|(status, _)| status.starts_with('2'));
        let bodies = answers.map(|(status, answer)| (status.as_str(), &answer["content"]));
        let bodies = bodies.chain([("request", &operation["requestBody"]["content"])]);
        let bodies = bodies.flat_map(|(part, content)| {
            let kinds = content.as_object().into_iter().flatten();
            kinds.map(move |(media, content)| (part, media, content))
        });
        for (part, media, content) in bodies {
            let example = &content["example"];
            assert!(
                example.is_object() || example.is_string() || content["examples"].is_object(),
                "{name}: {part} as {media} has no example"
            );
            assert!(!empty(example), "{name}: {part} has an empty text in {example}");
        }
    }
}

#[test]
fn every_operation_but_health_and_the_document_needs_a_scope() {
    let document = serde_json::to_value(document()).unwrap();
    for (name, operation) in operations(&document) {
        // Who sends events shows a signature instead.
        let open = operation["tags"][0] == "health" || operation["operationId"] == "receiveEvent";
        let secured = operation["security"][0]["bearer"].is_array();
        assert_eq!(secured, !open, "{name}");
        assert_eq!(operation["x-scope"].is_string(), !open, "{name}");
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.push(reference);
                }
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = serde_json::to_value(document()).unwrap();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
