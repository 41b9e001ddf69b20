//! What utoipa writes of parameters and fields, put so that tools read it as it is meant.

use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{RefOr, Required, Schema};

/// Moves the example of a parameter that may be left out into its description.
///
/// Swagger UI fills examples in, and whoever tries an operation out would send them: a filter they did not
/// choose, the idempotency key of everybody else who tried, a version that never was.
pub(super) fn complete(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.required == Required::False
            && let Some(described) = described(parameter)
        {
            *parameter = described;
        }
    }
}

fn described(parameter: &Parameter) -> Option<Parameter> {
    let mut written = serde_json::to_value(parameter).ok()?;
    let example = match written.as_object_mut()?.remove("example")? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let description = format!("{} For example: `{example}`.", parameter.description.as_deref()?);
    written["description"] = description.into();
    serde_json::from_value(written).ok()
}

/// Takes the type from what only describes: a field of a type of its own, with a default, is written as that
/// type and an object that holds the default, and nothing is both a word and an object.
pub(super) fn untype(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else {
        return;
    };
    for property in object.properties.values_mut() {
        let RefOr::T(Schema::AllOf(all)) = property else {
            continue;
        };
        for part in &mut all.items {
            if let RefOr::T(Schema::Object(part)) = part
                && part.properties.is_empty()
                && part.default.is_some()
            {
                part.schema_type = SchemaType::AnyValue;
            }
        }
    }
}
