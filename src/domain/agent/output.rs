//! Where in an agent's output its answer is.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How an agent's standard output is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Output {
    /// What it prints.
    #[serde(default)]
    pub format: Format,
    /// Its last words. Of `text`, all of it is.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Field>,
    /// What it calls its session.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Field>,
    /// Tokens it read.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<Field>,
    /// Tokens it wrote.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Field>,
    /// Tokens of those it read that came out of a cache.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<Field>,
    /// What it cost, in US dollars.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Field>,
    /// What went wrong. When it is there, the step has failed, whatever the exit code.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Field>,
}

/// What a program prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Words for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Jsonl,
}

/// Where something is in JSON documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// JSON pointers (RFC 6901), in which `*` is every member; the first that leads to something counts.
    #[garde(length(min = 1, max = 10), inner(custom(pointer)))]
    #[schema(min_items = 1, max_items = 10, example = json!(["/usage/input_tokens"]))]
    pub at: Vec<String>,
    /// Only in documents that have these values at these pointers.
    #[garde(length(max = 10), custom(pointers))]
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object, example = json!({"/type": "turn.completed"}))]
    pub only: BTreeMap<String, Value>,
    /// Which of them counts, when several documents have it: the last, unless this says otherwise; of
    /// numbers their sum.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<Take>,
}

/// Which of several values counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The first.
    First,
    /// The last.
    Last,
    /// Their sum; of words, all of them one after the other.
    All,
}

fn pointer(text: &str, (): &()) -> garde::Result {
    match (text.is_empty() || text.starts_with('/')) && text.len() <= 500 {
        true => Ok(()),
        false => super::refuse(format!("{text:?} is no JSON pointer: it begins with `/`")),
    }
}

fn pointers(only: &BTreeMap<String, Value>, (): &()) -> garde::Result {
    only.keys().try_for_each(|text| pointer(text, &()))
}

impl Field {
    /// What a document has of it: nothing, or all that the first pointer that leads somewhere leads to.
    pub(super) fn find<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        let holds =
            |(pointer, wanted): (&String, &Value)| lookup(document, pointer).first().copied() == Some(wanted);
        if !self.only.iter().all(holds) {
            return Vec::new();
        }
        let found = self.at.iter().map(|pointer| lookup(document, pointer));
        found
            .map(|mut values| {
                values.retain(|value| value.is_string() || value.is_number());
                values
            })
            .find(|values| !values.is_empty())
            .unwrap_or_default()
    }
}

/// Everything a pointer leads to.
fn lookup<'v>(document: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let mut found = vec![document];
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        found = found.into_iter().flat_map(|value| step(value, &key)).collect();
    }
    found
}

fn step<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(members) if key == "*" => members.values().collect(),
        Value::Object(members) => members.get(key).into_iter().collect(),
        Value::Array(items) if key == "*" => items.iter().collect(),
        Value::Array(items) => key
            .parse()
            .ok()
            .and_then(|at: usize| items.get(at))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}
