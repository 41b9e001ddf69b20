//! The engine of templates and conditions: minijinja, with nothing in it that reaches outside.
//!
//! There is no loader, so there are no includes; there are no macros; fuel bounds the time and the
//! memory of each text. What is not defined is an error and never an empty text, or a hook would run
//! `rm -r build/` one day where it meant `rm -r build/x`.

use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, escape_formatter};

use super::event::Incoming;

/// Instructions a text may take; 64 bytes made cost as much as one.
const FUEL: u64 = 50_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(100);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_formatter(|out, state, value| match value.is_none() {
        true => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the value is null; say what stands for it, as {{ payload.x or 'none' }}",
        )),
        false => escape_formatter(out, state, value),
    });
    engine.remove_global("debug");
    engine
});

/// What expressions may name.
pub(super) fn context(incoming: &Incoming, payload: &serde_json::Value) -> Value {
    minijinja::context! {
        payload => Value::from(Serde(payload)),
        event => &incoming.event,
        action => &incoming.action,
        branch => &incoming.branch,
        delivery_id => &incoming.delivery,
    }
}

/// Whether a text has anything to render.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

pub(super) fn check(text: &str) -> Result<(), String> {
    ENGINE
        .template_from_str(text)
        .map(drop)
        .map_err(|error| said(&error))
}

pub(super) fn render(text: &str, context: &Value) -> Result<String, String> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let rendered = ENGINE
        .template_from_str(text)
        .and_then(|template| template.render(context.clone()));
    rendered.map_err(|error| said(&error))
}

pub(super) fn check_expression(text: &str) -> Result<(), String> {
    ENGINE
        .compile_expression(text)
        .map(drop)
        .map_err(|error| said(&error))
}

pub(super) fn holds(text: &str, context: &Value) -> Result<bool, String> {
    let value = ENGINE
        .compile_expression(text)
        .and_then(|expression| expression.eval(context.clone()));
    match value {
        Ok(value) if value.is_undefined() => Err("what it names is not in this event".to_owned()),
        Ok(value) => Ok(value.is_true()),
        Err(error) => Err(said(&error)),
    }
}

fn said(error: &minijinja::Error) -> String {
    let kind = match error.kind() {
        ErrorKind::UndefinedError => "names something that is not in this event".to_owned(),
        ErrorKind::OutOfFuel => "takes too long or makes too much".to_owned(),
        kind => kind.to_string(),
    };
    match error.detail() {
        Some(detail) if error.kind() != ErrorKind::UndefinedError => format!("{kind}: {detail}"),
        _ => kind,
    }
}
