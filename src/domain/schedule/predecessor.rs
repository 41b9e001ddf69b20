//! The predecessor's schedule files: `{id, enabled, schedule, payload}`, read in UTC.

use serde_json::{Map, Value, json};

/// Whether a document is one of the predecessor's.
#[must_use]
pub fn is_predecessors(document: &Value) -> bool {
    document.get("payload").is_some() && document.get("id").is_some() && document.get("name").is_none()
}

/// The document as a definition of ours, and what of it was left out, as sentences. Fields that neither
/// knows stay where they are, to be refused with their names.
#[must_use]
pub fn of_predecessor(document: &Value) -> (Value, Vec<String>) {
    let mut notes = Vec::new();
    let mut definition = Map::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match name.as_str() {
            "id" => drop(definition.insert("name".to_owned(), value.clone())),
            "schedule" => drop(definition.insert("expression".to_owned(), value.clone())),
            "payload" => drop(definition.insert("job".to_owned(), template(value, &mut notes))),
            _ => drop(definition.insert(name.clone(), value.clone())),
        }
    }
    // It enqueued a run whatever became of the one before.
    definition.insert("overlap".to_owned(), json!("allow"));
    (Value::Object(definition), notes)
}

fn template(payload: &Value, notes: &mut Vec<String>) -> Value {
    let mut job = payload.clone();
    for name in ["job_id", "idempotency_key"] {
        if job.as_object_mut().and_then(|job| job.remove(name)).is_some() {
            notes.push(format!(
                "payload.{name} is left out: each run is a job of its own"
            ));
        }
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::Definition;

    #[test]
    fn predecessors_file_is_a_definition() {
        let file = json!({
            "id": "nightly", "enabled": false, "schedule": "0 3 * * *",
            "payload": {"goal": "tidy up", "project_id": "demo", "job_id": "nightly-1"},
        });
        assert!(is_predecessors(&file));
        let (ours, notes) = of_predecessor(&file);
        let definition = Definition::read(ours.to_string().as_bytes()).unwrap();
        assert_eq!(
            (definition.name.as_str(), definition.enabled),
            ("nightly", Some(false))
        );
        assert_eq!(definition.expression.as_str(), "0 3 * * *");
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn field_that_nobody_knows_is_refused_with_its_name() {
        let file = json!({"id": "n", "schedule": "@daily", "payload": {"goal": "g", "project_id": "p"}, "cron_tz": "UTC"});
        let (ours, _) = of_predecessor(&file);
        let violations = Definition::read(ours.to_string().as_bytes()).unwrap_err();
        assert_eq!(violations[0].path, "cron_tz");
    }
}
