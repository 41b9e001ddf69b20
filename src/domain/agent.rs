//! Agents: programs that are asked in words. Each is a definition, not code: how it is called, how it
//! is asked, and how its answer is read.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::name::{is_environment_name, is_step_id, is_tool};
use super::problem::{self, Violation};

mod binary;
mod output;
mod reader;
mod render;

pub use binary::{Binary, Unfit, Version};
pub use output::{Field, Format, Output, Take};
pub use reader::{Reader, Reading};
pub use render::{Invocation, RenderError};

/// Most arguments of a template, tools of an agent, and so on.
const MAX_NAMED: usize = 100;
/// Longest argument of a template, in bytes.
const MAX_ARGUMENT: usize = 4096;

/// Who does the work of an agent's step.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// This program itself; it can be looked at, and neither changed nor removed.
    BuiltIn,
    /// A program of the runner's host.
    Program,
}

/// How an agent's program is called, asked and understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// One sentence for people.
    #[garde(length(chars, max = 500), custom(plain))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 500, example = "Claude Code, headless")]
    pub description: String,
    /// The program and its arguments. `{prompt}` stands for the prompt, `{tools}` for the tools it may
    /// use, separated by commas, and `{tool_names}` for the same without what is in brackets. An argument holds one of them
    /// at its end at most, and is one argument to the program whatever they stand for.
    #[garde(custom(template_of(self.prompt)))]
    #[schema(min_items = 1, max_items = 100, example = json!(["claude", "--print", "--output-format", "json"]))]
    pub argv: Vec<String>,
    /// The same where the step runs in a sandbox, in every role: for a program with a sandbox of its own, which cannot
    /// be made within another. The host's bounds it then, and keeps the workspace from roles that only read.
    #[garde(custom(template_if_any(self.prompt)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub sandboxed_argv: Vec<String>,
    /// How the program gets its prompt.
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = "stdin")]
    pub prompt: PromptBy,
    /// How its answer is read.
    #[garde(dive)]
    #[serde(default)]
    pub output: Output,
    /// Programs it needs, of what versions.
    #[garde(length(max = MAX_NAMED), dive)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<Binary>,
    /// Variables of the runner's environment it may see, besides those every step sees.
    #[garde(length(max = MAX_NAMED), inner(custom(variable)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["ANTHROPIC_API_KEY"]))]
    pub environment: Vec<String>,
    /// The tools it has. Empty: it cannot be told which to use.
    #[garde(length(max = MAX_NAMED), inner(custom(tool)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["Read", "Edit", "Bash"]))]
    pub tools: Vec<String>,
    /// What is different for a role.
    #[garde(length(max = MAX_NAMED), custom(roles_of(self.prompt)))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Role>,
}

/// What is different for a role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The program and its arguments, instead of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// The tools it has in this role, instead of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Whether it only reads: the sandbox then keeps the workspace as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_only: bool,
}

/// How a program gets its prompt.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PromptBy {
    /// On its standard input.
    #[default]
    Stdin,
    /// As one argument, where the template says `{prompt}`.
    Argument,
}

impl Definition {
    /// Reads and checks a definition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path; at a syntax error just that one.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        let definition: Self = problem::read_json(json).map_err(|violation| vec![violation])?;
        definition.checked()
    }

    /// Checks a definition that was read in another way.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn checked(self) -> Result<Self, Vec<Violation>> {
        match self.validate() {
            Ok(()) => Ok(self),
            Err(report) => Err(problem::violations(&report)),
        }
    }

    /// Whether the agent only reads in `role`.
    #[must_use]
    pub fn reads_only(&self, role: Option<&str>) -> bool {
        role.and_then(|role| self.roles.get(role))
            .is_some_and(|role| role.reads_only)
    }
}

fn refuse(reason: impl Into<String>) -> garde::Result {
    Err(garde::Error::new(reason.into()))
}

fn plain(text: &str, (): &()) -> garde::Result {
    match text.contains('\0') {
        true => refuse("must not hold a NUL character"),
        false => Ok(()),
    }
}

fn variable(name: &str, (): &()) -> garde::Result {
    match is_environment_name(name) {
        true => Ok(()),
        false => refuse(format!("{name:?} cannot name a variable")),
    }
}

fn tool(name: &str, (): &()) -> garde::Result {
    match is_tool(name) {
        true => Ok(()),
        false => refuse(format!("{name:?} cannot name a tool")),
    }
}

fn template_of(prompt: PromptBy) -> impl FnOnce(&Vec<String>, &()) -> garde::Result {
    move |argv, ()| check_template(argv, prompt).or_else(refuse)
}

fn template_if_any(prompt: PromptBy) -> impl FnOnce(&Vec<String>, &()) -> garde::Result {
    move |argv, ()| match argv.is_empty() {
        true => Ok(()),
        false => check_template(argv, prompt).or_else(refuse),
    }
}

fn roles_of(prompt: PromptBy) -> impl FnOnce(&BTreeMap<String, Role>, &()) -> garde::Result {
    move |roles, ()| {
        for (name, role) in roles {
            if !is_step_id(name) {
                return refuse(format!("{name:?} is no role: 1–64 letters, digits, `_` or `-`"));
            }
            if role.argv.len() > MAX_NAMED || role.tools.len() > MAX_NAMED {
                return refuse(format!("{name}: has more than {MAX_NAMED} arguments or tools"));
            }
            if let Some(tool) = role.tools.iter().find(|tool| !is_tool(tool)) {
                return refuse(format!("{name}.tools: {tool:?} cannot name a tool"));
            }
            if !role.argv.is_empty() {
                check_template(&role.argv, prompt).or_else(|why| refuse(format!("{name}.argv: {why}")))?;
            }
        }
        Ok(())
    }
}

/// A prompt that is an argument must never be taken for an option: it follows `--`, or is attached to
/// an option of its own.
fn check_template(argv: &[String], prompt: PromptBy) -> Result<(), String> {
    match argv.first().map(String::as_str) {
        None | Some("") => return Err("must begin with the name of a program".to_owned()),
        Some(name) if name.contains('{') => {
            return Err("must begin with the name of a program; nothing stands for that".to_owned());
        }
        Some(_) => {}
    }
    if argv.len() > MAX_NAMED {
        return Err(format!("has more than {MAX_NAMED} arguments"));
    }
    let mut prompts = 0;
    for (place, argument) in argv.iter().enumerate() {
        if argument.contains('\0') || argument.len() > MAX_ARGUMENT {
            return Err(format!(
                "argument {place} holds a NUL character or more than {MAX_ARGUMENT} bytes"
            ));
        }
        let (before, placeholder) = render::split(argument);
        if before.contains("{prompt}") || before.contains("{tools}") || before.contains("{tool_names}") {
            return Err(format!(
                "{argument:?}: a placeholder stands at the end of its argument, and alone"
            ));
        }
        if placeholder == Some("{prompt}") {
            prompts += 1;
            let attached = before.starts_with("--") && before.ends_with('=');
            let guarded = before.is_empty() && argv[..place].iter().any(|argument| argument == "--");
            if !attached && !guarded {
                return Err(format!(
                    "{argument:?}: a prompt may begin with `-`; write --option={{prompt}}, or put `--` before it"
                ));
            }
        }
        if matches!(placeholder, Some("{tools}" | "{tool_names}"))
            && !(before.starts_with('-') && before.ends_with('='))
        {
            return Err(format!("{argument:?}: write the tools as --option={{tools}}"));
        }
    }
    match (prompt, prompts) {
        (PromptBy::Stdin, 0) | (PromptBy::Argument, 1) => Ok(()),
        (PromptBy::Stdin, _) => Err("has {prompt}, but the prompt comes on standard input".to_owned()),
        (PromptBy::Argument, _) => Err("must have {prompt} once: the prompt is an argument".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: &str) -> Vec<String> {
        let found = Definition::read(json.as_bytes()).unwrap_err();
        found.into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_prompt_can_never_be_an_option() {
        for argv in [
            r#"["a", "{prompt}"]"#,
            r#"["a", "-p", "{prompt}"]"#,
            r#"["a", "x{prompt}"]"#,
            r#"["a", "--x={prompt}y"]"#,
            r#"["a", "--", "{prompt}", "{prompt}"]"#,
            r#"["a", "--"]"#,
            r#"["{prompt}"]"#,
            r#"[]"#,
        ] {
            let json = format!(r#"{{"argv": {argv}, "prompt": "argument"}}"#);
            let found = wrong(&json);
            assert!(
                found.len() == 1 && found[0].starts_with("argv: "),
                "{argv}: {found:?}"
            );
        }
        for argv in [r#"["a", "--", "{prompt}"]"#, r#"["a", "--prompt={prompt}"]"#] {
            let json = format!(r#"{{"argv": {argv}, "prompt": "argument"}}"#);
            Definition::read(json.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        let found = wrong(
            r#"{"argv": ["a"], "environment": ["A=B"], "tools": ["-x"], "roles": {"reviewer": {"argv": ["{tools}"]}},
                "sandboxed_argv": ["a", "{prompt}"], "binaries": [{"name": "a/b"}], "output": {"format": "json", "text": {"at": ["no-slash"]}}}"#,
        );
        let mut paths: Vec<&str> = found
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, _)| path)
            .collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "binaries[0].name",
                "environment[0]",
                "output.text.at[0]",
                "roles",
                "sandboxed_argv",
                "tools[0]"
            ]
        );
        assert!(wrong(r#"{"argv": ["a"], "prompts": "stdin"}"#)[0].contains("prompts"));
    }
}
