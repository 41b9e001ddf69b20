//! Schedules for longer than the fast tests take: ten years of frequent times, weeks of simulated time with
//! killed schedulers and a clock that jumps, and real processes killed while every second is due.
//!
//! What is random comes out of a seed, which is printed. `SCHEDULES_SEED=<number>` draws the same again; how
//! what runs at once interleaves is the machine's.

mod decade;
mod killed;
mod simulated;

use orchestrator::domain::schedule::Definition;
use serde_json::{Value, json};

/// The one that was asked for, or a new one.
#[expect(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn seed() -> u64 {
    let seed = match std::env::var("SCHEDULES_SEED") {
        Ok(seed) => seed.parse().expect("SCHEDULES_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("SCHEDULES_SEED={seed}");
    seed
}

/// A definition with these fields, of a job that does nothing.
fn definition(name: &str, expression: &str, zone: &str, fields: &Value) -> Definition {
    let mut definition = json!({
        "name": name, "expression": expression, "zone": zone,
        "job": { "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "agent": "noop" }] },
    });
    definition
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    Definition::read(definition.to_string().as_bytes()).unwrap()
}
