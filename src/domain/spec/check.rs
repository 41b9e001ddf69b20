//! What each field of a specification may hold.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use serde_json::{Map, Value};

use super::MAX_ARGV_BYTES;
use crate::domain::name::{is_environment_name, is_name, is_step_id, is_tool};

pub(in crate::domain) fn refuse<T>(reason: impl Into<String>) -> Result<T, garde::Error> {
    Err(garde::Error::new(reason.into()))
}

pub(in crate::domain) fn name_shape(name: &str, (): &()) -> garde::Result {
    if is_name(name) {
        return Ok(());
    }
    refuse("must be 1–128 letters, digits, `.`, `_` or `-`, and begin with a letter or digit")
}

pub(super) fn step_id_shape(name: &str, (): &()) -> garde::Result {
    if is_step_id(name) {
        return Ok(());
    }
    refuse("must be 1–64 letters, digits, `_` or `-`, and begin with a letter or digit")
}

pub(super) fn only_version(version: &Option<String>, (): &()) -> garde::Result {
    match version.as_deref() {
        None | Some("1.0") => Ok(()),
        Some(other) => refuse(format!("is {other:?}; this server knows version \"1.0\"")),
    }
}

pub(super) fn agent_shape(agent: &str, (): &()) -> garde::Result {
    if is_step_id(agent) {
        return Ok(());
    }
    refuse("must be the name of an agent: 1–64 letters, digits, `_` or `-`")
}

pub(super) fn optional_role_shape(role: &Option<String>, (): &()) -> garde::Result {
    role.as_ref().map_or(Ok(()), |role| step_id_shape(role, &()))
}

/// A tool becomes part of an argument: it must not be taken for an option, nor for two tools.
pub(super) fn tools_shape(tools: &[String], (): &()) -> garde::Result {
    match tools.iter().find(|tool| !is_tool(tool)) {
        Some(tool) => refuse(format!(
            "{tool:?} is no tool: a letter first, then letters, digits and `_-.:*/() `, at most 128, as \"Bash(git:*)\""
        )),
        None => Ok(()),
    }
}

pub(super) fn no_nul(text: &str, (): &()) -> garde::Result {
    no_nul_in(text)
}

pub(in crate::domain) fn no_nul_str(text: &str, (): &()) -> garde::Result {
    no_nul_in(text)
}

pub(super) fn no_nul_in(text: &str) -> garde::Result {
    if text.contains('\0') {
        refuse("must not hold a NUL character")
    } else {
        Ok(())
    }
}

/// PostgreSQL's JSON holds no NUL, in whatever depth.
pub(super) fn no_nul_within(map: &Map<String, Value>, (): &()) -> garde::Result {
    map.iter()
        .try_for_each(|(key, value)| no_nul_in(key).and_then(|()| no_nul_in_value(value)))
}

pub(super) fn no_nul_in_value(value: &Value) -> garde::Result {
    match value {
        Value::String(text) => no_nul_in(text),
        Value::Array(items) => items.iter().try_for_each(no_nul_in_value),
        Value::Object(map) => no_nul_within(map, &()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// PostgreSQL's calendar begins later than chrono's, and nobody waits until the year 10000.
pub(in crate::domain) fn within_the_calendar(at: &DateTime<Utc>, (): &()) -> garde::Result {
    match at.year() {
        1970..=9999 => Ok(()),
        year => refuse(format!("is in the year {year}; allowed are 1970 to 9999")),
    }
}

pub(super) fn prompt_for_agents(agent: &str) -> impl FnOnce(&Option<String>, &()) -> garde::Result {
    move |prompt, ()| match (agent, prompt) {
        ("command", Some(_)) => refuse("is for agents; a `command` step takes `argv`"),
        ("noop", Some(_)) => refuse("is for agents; a `noop` step does nothing"),
        ("command" | "noop", None) | (_, Some(_)) => Ok(()),
        (_, None) => refuse(format!("is required: it is what agent {agent:?} is asked to do")),
    }
}

pub(super) fn argv_of(agent: &str) -> impl FnOnce(&Vec<String>, &()) -> garde::Result {
    move |argv, ()| {
        if agent != "command" {
            return if argv.is_empty() {
                Ok(())
            } else {
                refuse("is for `command` steps; an agent takes a `prompt`")
            };
        }
        match argv.first().map(String::as_str) {
            None => return refuse("is required: the program and its arguments, as [\"make\", \"test\"]"),
            Some("") => return refuse("must begin with the name of a program"),
            Some(_) => {}
        }
        if argv.iter().map(|argument| argument.len() + 1).sum::<usize>() > MAX_ARGV_BYTES {
            return refuse(format!(
                "is longer than {MAX_ARGV_BYTES} bytes together; write the data to a file"
            ));
        }
        argv.iter().try_for_each(|argument| no_nul_in(argument))
    }
}

pub(super) fn environment(env: &BTreeMap<String, String>, (): &()) -> garde::Result {
    if env.len() > 256 {
        return refuse("has more than 256 variables");
    }
    for (name, value) in env {
        if !is_environment_name(name) {
            return refuse(format!(
                "{name:?} cannot name a variable: letters, digits and `_` can"
            ));
        }
        if value.len() > 32 * 1024 {
            return refuse(format!("{name} is longer than 32768 bytes"));
        }
        no_nul_in(value)?;
    }
    Ok(())
}

pub(super) fn optional_name_shape(name: &Option<String>, (): &()) -> garde::Result {
    name.as_ref().map_or(Ok(()), |name| name_shape(name, &()))
}

/// A key of the caller's is an idempotency key or a unique key: what a repeat under both would be
/// answered with, nobody could say.
pub(super) fn only_key(
    idempotency_key: &Option<String>,
) -> impl FnOnce(&Option<String>, &()) -> garde::Result {
    move |unique_key, ()| match (idempotency_key, unique_key) {
        (Some(_), Some(_)) => refuse("goes with no idempotency_key; send one of the two"),
        _ => Ok(()),
    }
}

pub(super) fn needs_once(needs: &[String], (): &()) -> garde::Result {
    let mut seen = std::collections::BTreeSet::new();
    match needs.iter().find(|need| !seen.insert(*need)) {
        Some(again) => refuse(format!("{again:?} is named twice")),
        None => Ok(()),
    }
}

pub(super) fn callback(url: &str, (): &()) -> garde::Result {
    match crate::domain::callback::read_url(url) {
        Ok(_) => Ok(()),
        Err(why) => refuse(why),
    }
}
