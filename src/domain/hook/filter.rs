//! Whether an event makes a job, and if not, why.

use serde_json::Value;

use super::event::Incoming;
use super::{Filter, engine};

/// Says why `incoming` makes no job; `None` when it makes one.
///
/// # Errors
///
/// When the condition cannot be evaluated for this event: nobody knows what was meant, so it is a
/// failure of the hook and not a no.
pub fn why_not(filter: &Filter, incoming: &Incoming, payload: &Value) -> Result<Option<String>, String> {
    if let Some(why) = wrong_event(filter, incoming).or_else(|| wrong_branch(filter, incoming)) {
        return Ok(Some(why));
    }
    let Some(when) = &filter.when else { return Ok(None) };
    match engine::holds(when, &engine::context(incoming, payload)) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("filter.when does not hold".to_owned())),
        Err(why) => Err(format!("filter.when: {why}")),
    }
}

fn wrong_event(filter: &Filter, incoming: &Incoming) -> Option<String> {
    if filter.events.is_empty() {
        return None;
    }
    let Some(event) = &incoming.event else {
        return Some("the event has no name, and filter.events asks for one".to_owned());
    };
    let whole = incoming.action.as_ref().map(|action| format!("{event}.{action}"));
    let fits = |pattern: &String| {
        matches(pattern, event) || whole.as_ref().is_some_and(|whole| matches(pattern, whole))
    };
    match filter.events.iter().any(fits) {
        true => None,
        false => Some(format!(
            "event {} is not in filter.events",
            short(whole.as_ref().unwrap_or(event))
        )),
    }
}

fn wrong_branch(filter: &Filter, incoming: &Incoming) -> Option<String> {
    if filter.branches.is_empty() {
        return None;
    }
    match &incoming.branch {
        None => Some("the event is about no branch, and filter.branches asks for one".to_owned()),
        Some(branch) if filter.branches.iter().any(|pattern| matches(pattern, branch)) => None,
        Some(branch) => Some(format!("branch {} is not in filter.branches", short(branch))),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    fast_glob::glob_match(pattern, text)
}

/// A name of the sender's, quoted and bounded.
fn short(name: &str) -> String {
    format!("{:?}", name.chars().take(100).collect::<String>())
}
