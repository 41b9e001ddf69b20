//! What a goal without steps means.

use super::StepSpec;

/// Plan, implement, review; each step is shown what the ones before it wrote.
pub(super) fn default_pipeline(goal: &str) -> Vec<StepSpec> {
    let step = |step_id: &str, agent: &str, role: &str, task: &str, inputs: &[&str]| StepSpec {
        role: Some(role.to_owned()),
        prompt: Some(format!("{task}\n\n{goal}")),
        input_artifacts: inputs.iter().map(ToString::to_string).collect(),
        ..StepSpec::of(step_id, agent)
    };
    vec![
        step(
            "plan",
            "opencode",
            "planner",
            "Plan how to reach this goal. Change nothing; say which files change, how, and how it is tested.",
            &[],
        ),
        step(
            "implement",
            "codex",
            "implementer",
            "Reach this goal in the workspace, after the plan.",
            &["steps/plan/report.md"],
        ),
        step(
            "review",
            "claude",
            "reviewer",
            "Review what was changed to reach this goal: errors, risks, what is missing. Change nothing.",
            &[
                "steps/plan/report.md",
                "steps/implement/report.md",
                "steps/implement/patch.diff",
            ],
        ),
    ]
}
