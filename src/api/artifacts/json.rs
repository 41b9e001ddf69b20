//! The shapes of artifacts in JSON, for the document.

use utoipa::openapi::schema::{AnyOfBuilder, Object, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::result::{JobResult, StepResult};

/// What an artifact in JSON holds: `StepResult` and `JobResult` are each a `result.json`.
pub(super) struct JsonArtifact;

impl PartialSchema for JsonArtifact {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(StepResult::name()))
            .item(Ref::from_schema_name(JobResult::name()))
            .item(Object::with_type(Type::Object))
            .description(Some(
                "What an artifact in JSON holds; of a `result.json` the shape is known.",
            ))
            .into()
    }
}

impl ToSchema for JsonArtifact {}
