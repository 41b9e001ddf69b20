//! What attributes cannot say of a schema: what the items of a list are, what names a map has, and that no text holds a NUL.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{ArrayItems, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Object, RefOr, Schema};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// PostgreSQL's texts hold no NUL, so neither does any of ours.
const NO_NUL: &str = r"^[^\u0000]*$";
const TOOL: &str = "^[A-Za-z][A-Za-z0-9_.:*/() -]{0,127}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]{0,254}$";
const ROLE: &str = "^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$";

/// What a text is.
enum Text {
    /// From so many characters to so many.
    Long(usize, usize),
    /// What the pattern says.
    Like(&'static str),
}

/// The items of lists, by schema and field.
const ITEMS: [(&str, &str, Text); 12] = [
    ("JobSpec", "needs", Text::Long(1, 255)),
    ("JobSpec", "tags", Text::Long(1, 64)),
    ("StepSpec", "input_artifacts", Text::Long(1, 512)),
    ("StepSpec", "apply_patches_from", Text::Long(1, 512)),
    ("StepSpec", "allowed_tools", Text::Like(TOOL)),
    ("Definition", "environment", Text::Like(VARIABLE)),
    ("Definition", "tools", Text::Like(TOOL)),
    ("Role", "tools", Text::Like(TOOL)),
    ("Field", "at", Text::Like(r"^(/[^\u0000]{0,499})?$")),
    ("Filter", "events", Text::Long(1, 128)),
    ("Filter", "branches", Text::Long(1, 255)),
    (
        "NewToken",
        "projects",
        Text::Like(r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$"),
    ),
];

/// The names of maps, by schema and field.
const NAMES: [(&str, &str, Text); 2] = [
    ("StepSpec", "env", Text::Like(VARIABLE)),
    ("Definition", "roles", Text::Like(ROLE)),
];

/// Says all that of the schemas of a document.
pub(super) fn complete(schemas: &mut Schemas) {
    for (schema, field, text) in &ITEMS {
        if let Some(Schema::Array(list)) = find(schemas, schema, field) {
            list.items = ArrayItems::RefOrSchema(Box::new(text.schema().into()));
        }
    }
    for (schema, field, text) in &NAMES {
        if let Some(Schema::Object(map)) = find(schemas, schema, field) {
            map.property_names = Some(Box::new(text.schema().into()));
        }
    }
    schemas.values_mut().for_each(without_nul);
}

fn find<'s>(schemas: &'s mut Schemas, schema: &str, field: &str) -> Option<&'s mut Schema> {
    match schemas.get_mut(schema)? {
        RefOr::T(Schema::Object(object)) => match object.properties.get_mut(field)? {
            RefOr::T(found) => Some(found),
            RefOr::Ref(_) => None,
        },
        _ => None,
    }
}

impl Text {
    fn schema(&self) -> Object {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let text = match self {
            Self::Long(least, most) => text.min_length(Some(*least)).max_length(Some(*most)),
            Self::Like(pattern) => text.pattern(Some(*pattern)),
        };
        text.build()
    }
}

/// Gives every text of a schema that is not otherwise bound the pattern that lets no NUL in.
pub(super) fn without_nul(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            if is_free_text(object) {
                object.pattern = Some(NO_NUL.to_owned());
            }
            object.properties.values_mut().for_each(without_nul);
        }
        Schema::Array(list) => {
            if let ArrayItems::RefOrSchema(items) = &mut list.items {
                without_nul(items);
            }
        }
        Schema::AllOf(all) => all.items.iter_mut().for_each(without_nul),
        Schema::OneOf(one) => one.items.iter_mut().for_each(without_nul),
        _ => {}
    }
}

fn is_free_text(object: &Object) -> bool {
    let is_text = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::String,
        SchemaType::Array(kinds) => kinds.contains(&Type::String),
        SchemaType::AnyValue => false,
    };
    is_text && object.pattern.is_none() && object.format.is_none() && object.enum_values.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_and_map_that_is_described_is_there() {
        let document = crate::api::document();
        let mut schemas = document.components.unwrap().schemas;
        for (schema, field, _) in &ITEMS {
            let found = find(&mut schemas, schema, field);
            assert!(
                matches!(found, Some(Schema::Array(_))),
                "{schema}.{field} is no list"
            );
        }
        for (schema, field, _) in &NAMES {
            let found = find(&mut schemas, schema, field);
            assert!(
                matches!(found, Some(Schema::Object(_))),
                "{schema}.{field} is no map"
            );
        }
    }
}
