//! The examples of `docs/JOBS.md`, run.

use orchestrator::domain::agent::Definition;
use serde_json::Value;

use super::Ground;

/// Each JSON block, with how its job ends, if it says so.
fn examples() -> Vec<(Value, Option<String>)> {
    let text = include_str!("../../../docs/JOBS.md");
    let mut found = Vec::new();
    for block in text.split("```json\n").skip(1) {
        let (json, rest) = block.split_once("```\n").unwrap();
        let ends = rest
            .strip_prefix("<!-- ends: ")
            .map(|ends| ends.split_once(" -->").unwrap().0.to_owned());
        found.push((serde_json::from_str(json).unwrap(), ends));
    }
    found
}

#[tokio::test]
async fn every_job_of_the_documentation_ends_as_it_says() {
    let ground = Ground::new().await;
    let _runner = ground.runner(&[]);
    let mut jobs = 0;
    for (example, ends) in examples() {
        let Some(ends) = ends else { continue };
        let (state, steps) = ends.split_once(", ").unwrap();
        let job = ground.submit(example).await;
        ground.reaches(job, state).await;
        assert_eq!(ground.ended(job).await, steps);
        jobs += 1;
    }
    assert_eq!(jobs, 6);
}

#[test]
fn every_agent_of_the_documentation_is_one() {
    let agents: Vec<_> = examples()
        .into_iter()
        .filter(|(_, ends)| ends.is_none())
        .collect();
    assert_eq!(agents.len(), 1);
    for (example, _) in agents {
        Definition::read(example.to_string().as_bytes()).unwrap();
    }
}
