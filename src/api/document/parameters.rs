//! What utoipa writes of parameters and fields, put so that tools read it as it is meant.

use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{RefOr, Required, Schema};

use super::items;

/// What a name in a path looks like, unless it says something else of itself.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";

/// Bounds what parameters do not bound themselves, and moves the example of one that may be left out into its description.
///
/// Swagger UI fills examples in, and whoever tries an operation out would send them: a filter they did not
/// choose, the idempotency key of everybody else who tried, a version that never was.
pub(super) fn complete(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        if let Some(schema) = &mut parameter.schema {
            match parameter.parameter_in {
                ParameterIn::Path => name(schema),
                _ => items::without_nul(schema),
            }
        }
        if parameter.required == Required::False
            && let Some(described) = described(parameter)
        {
            *parameter = described;
        }
    }
}

fn name(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(text)) = schema
        && text.pattern.is_none()
        && text.format.is_none()
    {
        text.pattern = Some(NAME.to_owned());
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
