//! What a sender may not do with an argument: choose the program, be a script, or become an option.

use serde_json::{Map, Value};

use super::engine::is_template;
use crate::domain::problem::Violation;

/// Programs that take code as an argument, behind an option.
const INTERPRETERS: [&str; 20] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "busybox", "python", "perl",
    "ruby", "node", "php", "lua", "pwsh", "deno", "bun",
];

/// What is wrong with the arguments of a template, whatever a sender writes.
pub(super) fn check(template: &Map<String, Value>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (step, argv) in all(template) {
        if argv.first().is_some_and(|program| is_template(program)) {
            let sentence = "is the program to run, which a sender may not choose; write its name";
            wrong.push(Violation::new(place(step, 0), sentence));
        }
        for (index, argument) in argv.iter().enumerate().skip(1) {
            if is_template(argument) && is_code(&argv[..index], argument) {
                let sentence = "is code, which a sender may not write; pass it as an argument of its own, \
                    as [\"sh\", \"-c\", \"echo \\\"$1\\\"\", \"sh\", \"{{ branch }}\"]";
                wrong.push(Violation::new(place(step, index), sentence));
            }
        }
    }
    wrong
}

/// Whether an interpreter among `before` takes `argument` for code.
fn is_code(before: &[&str], argument: &str) -> bool {
    let is_interpreter = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        INTERPRETERS.contains(&name)
    };
    // `-c`, `-ec`, `-e`, `-r`, `--eval`, `-Command`: what follows, or is attached, is code.
    let is_code_option = |word: &str| {
        let word = word.to_ascii_lowercase();
        let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        short.is_some_and(|rest| rest.contains(['c', 'e', 'r', 'p']))
            || ["--eval", "--print", "--run", "--command"]
                .iter()
                .any(|long| word.starts_with(long))
    };
    before.iter().any(is_interpreter)
        && (before.last().is_some_and(|last| is_code_option(last)) || argument.starts_with('-'))
}

/// Arguments that became options only by what was rendered into them: `--upload-pack=…` as a branch.
pub(super) fn smuggled(template: &Map<String, Value>, rendered: &Map<String, Value>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for ((step, before), (_, after)) in all(template).into_iter().zip(all(rendered)) {
        for (index, (written, now)) in before.iter().zip(&after).enumerate() {
            if *written == "--" {
                break;
            }
            if now.starts_with('-') && !written.starts_with('-') {
                let sentence = "would begin with `-` and be taken for an option; \
                    put \"--\" before it in the template, if the program knows that";
                wrong.push(Violation::new(place(step, index), sentence));
            }
        }
    }
    wrong
}

fn place(step: usize, index: usize) -> String {
    format!("template.steps[{step}].argv[{index}]")
}

/// The arguments of each step. What is no list of texts is refused elsewhere.
fn all(template: &Map<String, Value>) -> Vec<(usize, Vec<&str>)> {
    let steps = template.get("steps").and_then(Value::as_array);
    let argv = |step| {
        let items = Value::get(step, "argv").and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let steps = steps.into_iter().flatten().enumerate();
    steps.map(|(index, step)| (index, argv(step))).collect()
}
