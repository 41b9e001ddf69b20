//! A worked example for every answer: composed from the examples that its fields give, so that it always
//! has the shape of the type it is one of.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, RefOr};

/// The media type whose examples follow from a schema; what streams and texts look like is written by hand.
const COMPOSED: &str = "application/json";

/// Gives every JSON answer of success that has none an example.
pub(super) fn complete(operation: &mut Operation, components: &Value) {
    for answer in operation.responses.responses.values_mut() {
        let RefOr::T(answer) = answer else { continue };
        let Some(RefOr::T(content)) = answer.content.get_mut(COMPOSED) else {
            continue;
        };
        if content.example.is_none() && content.examples.is_empty() {
            let schema = serde_json::to_value(&content.schema).unwrap_or_default();
            content.example = Some(of(&schema, components));
        }
    }
}

/// The schemas of the document, as examples are composed from them.
pub(super) fn components(components: Option<&Components>) -> Value {
    serde_json::to_value(components.map(|components| &components.schemas)).unwrap_or_default()
}

/// Something of that shape.
fn of(schema: &Value, schemas: &Value) -> Value {
    if let Some(example) = ["example", "const", "default"]
        .iter()
        .find_map(|said| schema.get(*said))
    {
        return example.clone();
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return of(&schemas[name], schemas);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().map(|part| of(part, schemas)).fold(Value::Null, both);
    }
    if let Some(kinds) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let null = kinds.iter().find(|kind| kind["type"] == "null");
        return null
            .or(kinds.first())
            .map_or(Value::Null, |kind| of(kind, schemas));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.first().cloned().unwrap_or_default();
    }
    plain(schema, schemas)
}

/// Something of a plain type. What may be null is, unless it has an example: most fields of that kind say
/// what went wrong, or what has not happened yet.
fn plain(schema: &Value, schemas: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let read = properties.filter(|(_, property)| property["writeOnly"] != true);
            read.map(|(name, property)| (name.clone(), of(property, schemas)))
                .collect::<Map<_, _>>()
                .into()
        }
        Some("array") => json!([of(&schema["items"], schemas)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => schema.get("default").cloned().unwrap_or(json!(false)),
        Some("string") => match schema["format"].as_str() {
            Some("uuid") => json!("01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10"),
            Some("date-time") => json!("2030-01-01T02:00:00Z"),
            _ => json!(""),
        },
        _ => Value::Null,
    }
}

/// Both in one; of two values that are no objects the one that says something.
fn both(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            one.into()
        }
        (Value::Null, other) => other,
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_the_shape_and_the_examples_of_its_parts() {
        let schemas = json!({"Name": {"type": "string", "example": "demo"}});
        let schema = json!({"allOf": [
            {"type": "object", "properties": {"name": {"$ref": "#/components/schemas/Name"}, "secret": {"type": "string", "writeOnly": true}}},
            {"type": "object", "properties": {
                "ended": {"type": ["string", "null"], "format": "date-time"},
                "count": {"type": "integer", "minimum": 3},
                "state": {"enum": ["open", "closed"]},
                "of": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Name"}]},
            }},
        ]});
        let expected = json!({"name": "demo", "ended": null, "count": 3, "state": "open", "of": null});
        assert_eq!(of(&schema, &schemas), expected);
        let list = json!({"type": "array", "items": {"$ref": "#/components/schemas/Name"}});
        assert_eq!(of(&list, &schemas), json!(["demo"]));
    }
}
