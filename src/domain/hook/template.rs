//! The job a hook makes: a specification whose texts are rendered one by one.
//!
//! The template is read as JSON first and its texts are rendered afterwards, so what a sender writes
//! can fill a text and nothing else: no quote, bracket or line of theirs can add a step, an argument
//! or a field. What a text of `argv` yields is one argument.

use serde_json::{Map, Value};

use super::event::Incoming;
use super::{arguments, engine};
use crate::domain::problem::{Violation, read_json};
use crate::domain::spec::JobSpec;

/// What is wrong with a template, as far as that can be known before an event comes.
pub(super) fn check(template: &Map<String, Value>, project: &str) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if template.contains_key("project_id") {
        wrong.push(Violation::new(
            "template.project_id",
            "is the hook's own project_id; leave it out",
        ));
    }
    for (path, text) in texts(template) {
        if let Err(why) = engine::check(text) {
            wrong.push(Violation::new(path, why));
        }
    }
    wrong.extend(arguments::check(template));
    // The shape holds whatever the texts will be; what they may be is seen when they are rendered.
    let shape = with_project(template.clone(), project);
    let shape = serde_json::to_vec(&shape).unwrap_or_default();
    if let Err(violation) = read_json::<JobSpec>(&shape) {
        wrong.push(below(violation));
    }
    if wrong.is_empty() && !texts(template).any(|(_, text)| engine::is_template(text)) {
        wrong.extend(
            specification(template.clone(), project)
                .err()
                .into_iter()
                .flatten(),
        );
    }
    wrong
}

/// Makes the job of an event.
///
/// # Errors
///
/// What cannot be rendered, or is no specification once it is, each with its path.
pub fn render(
    template: &Map<String, Value>,
    project: &str,
    incoming: &Incoming,
    payload: &Value,
) -> Result<JobSpec, Vec<Violation>> {
    let context = engine::context(incoming, payload);
    let mut wrong = Vec::new();
    let rendered = Value::Object(template.clone());
    let rendered = map_texts(rendered, "template", &mut |path, text| {
        engine::render(text, &context).unwrap_or_else(|why| {
            wrong.push(Violation::new(path, why));
            String::new()
        })
    });
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let Value::Object(rendered) = rendered else {
        return Err(wrong);
    };
    let smuggled = arguments::smuggled(template, &rendered);
    if !smuggled.is_empty() {
        return Err(smuggled);
    }
    specification(rendered, project)
}

fn specification(rendered: Map<String, Value>, project: &str) -> Result<JobSpec, Vec<Violation>> {
    let rendered = with_project(rendered, project);
    let spec: JobSpec = serde_path_to_error::deserialize(rendered).map_err(|error| {
        vec![below(Violation::new(
            error.path().to_string(),
            error.inner().to_string(),
        ))]
    })?;
    spec.checked()
        .map_err(|wrong| wrong.into_iter().map(below).collect())
}

fn with_project(mut template: Map<String, Value>, project: &str) -> Value {
    template.insert("project_id".to_owned(), Value::String(project.to_owned()));
    Value::Object(template)
}

fn below(violation: Violation) -> Violation {
    let path = match violation.path.as_str() {
        "" => "template".to_owned(),
        path => format!("template.{path}"),
    };
    Violation { path, ..violation }
}

/// Every text, with where it lies.
fn texts(template: &Map<String, Value>) -> impl Iterator<Item = (String, &str)> {
    fn walk<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a str)>) {
        match value {
            Value::String(text) => found.push((path.to_owned(), text)),
            Value::Array(items) => (0..).zip(items).for_each(|(index, item)| {
                walk(item, &at(path, index), found);
            }),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| walk(value, &format!("{path}.{key}"), found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    template
        .iter()
        .for_each(|(key, value)| walk(value, &format!("template.{key}"), &mut found));
    found.into_iter()
}

fn map_texts(value: Value, path: &str, change: &mut impl FnMut(&str, &str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(path, &text)),
        Value::Array(items) => {
            let items = (0..).zip(items);
            let items = items.map(|(index, item)| map_texts(item, &at(path, index), change));
            Value::Array(items.collect())
        }
        Value::Object(map) => {
            let pairs = map.into_iter().map(|(key, value)| {
                let value = map_texts(value, &format!("{path}.{key}"), change);
                (key, value)
            });
            Value::Object(pairs.collect())
        }
        other => other,
    }
}

fn at(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
