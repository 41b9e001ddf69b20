//! What differs between two definitions, field by field.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where, as `job.steps[0].argv[1]`.
    pub path: String,
    /// What was there; `None` when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What is there now; `None` when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "(nothing)".to_owned(),
        };
        write!(f, "{}: {} → {}", self.path, shown(&self.from), shown(&self.to))
    }
}

/// Every field in which `new` differs from `old`, in the order of their names.
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(path: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                compare(path, old.get(name), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(format!("{path}[{index}]"), old.get(index), new.get(index), found);
            }
        }
        (from, to) => found.push(Change {
            path,
            from: from.cloned(),
            to: to.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_named_by_their_place() {
        let old = json!({"a": 1, "job": {"steps": [{"argv": ["x", "y"]}]}, "gone": true});
        let new = json!({"a": 1, "job": {"steps": [{"argv": ["x", "z"]}, {}]}, "new": null});
        let said: Vec<String> = changes(&old, &new).iter().map(Change::to_string).collect();
        assert_eq!(
            said,
            [
                "gone: true → (nothing)",
                r#"job.steps[0].argv[1]: "y" → "z""#,
                "job.steps[1]: (nothing) → {}",
                "new: (nothing) → null",
            ]
        );
        assert_eq!(changes(&old, &old), []);
    }
}
