//! From a definition and a prompt to arguments: each placeholder is one argument or the end of one,
//! never two, never a shell's.

use super::{Definition, PromptBy};

/// Longest argument Linux takes, with its ending NUL: `MAX_ARG_STRLEN`.
const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// A program to be run for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What it reads.
    pub stdin: Option<String>,
}

/// Why an agent cannot be called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The step names a tool the agent does not have in this role.
    #[error("the step allows the tool {0:?}, which the agent does not have in this role; it has: {1}")]
    Tool(String, String),
    /// The agent has no tools to choose from.
    #[error("the step names allowed_tools, and this agent cannot be told which tools to use; leave them out")]
    NoTools,
    /// The prompt is too long for an argument.
    #[error(
        "the prompt has {0} bytes, and an argument may have {MAX_ARGUMENT}; show the agent fewer or smaller artifacts"
    )]
    TooLong(usize),
    /// No program takes such a prompt.
    #[error("the prompt holds a NUL character")]
    Nul,
}

impl Definition {
    /// The program to be run in `role`, with `allowed` tools of those it has (none is all), to be asked `prompt`, in
    /// a sandbox or not.
    ///
    /// # Errors
    ///
    /// [`RenderError`].
    pub fn render(
        &self,
        role: Option<&str>,
        allowed: &[String],
        prompt: &str,
        sandboxed: bool,
    ) -> Result<Invocation, RenderError> {
        if prompt.contains('\0') {
            return Err(RenderError::Nul);
        }
        let role = role.and_then(|role| self.roles.get(role));
        let template = match role {
            _ if sandboxed && !self.sandboxed_argv.is_empty() => &self.sandboxed_argv,
            Some(role) if !role.argv.is_empty() => &role.argv,
            _ => &self.argv,
        };
        let has = match role {
            Some(role) if !role.tools.is_empty() => &role.tools,
            _ => &self.tools,
        };
        let tools = choose(has, allowed)?;
        let argv: Vec<String> = template
            .iter()
            .map(|argument| fill(argument, prompt, tools))
            .collect();
        if let Some(long) = argv.iter().find(|argument| argument.len() > MAX_ARGUMENT) {
            return Err(RenderError::TooLong(long.len()));
        }
        let stdin = (self.prompt == PromptBy::Stdin).then(|| prompt.to_owned());
        Ok(Invocation { argv, stdin })
    }
}

/// The tools allowed, each of them one the agent has, or a part of one, as `Bash(git:*)` is of `Bash`.
fn choose<'a>(has: &'a [String], allowed: &'a [String]) -> Result<&'a [String], RenderError> {
    if allowed.is_empty() {
        return Ok(has);
    }
    if has.is_empty() {
        return Err(RenderError::NoTools);
    }
    let is_had = |tool: &str| has.iter().any(|had| had == tool || had == name_of(tool));
    match allowed.iter().find(|tool| !is_had(tool)) {
        Some(tool) => Err(RenderError::Tool(tool.clone(), has.join(", "))),
        None => Ok(allowed),
    }
}

fn name_of(tool: &str) -> &str {
    tool.split('(').next().unwrap_or(tool)
}

/// What stands before the placeholder at the end of an argument, and the placeholder.
pub(super) fn split(argument: &str) -> (&str, Option<&'static str>) {
    for placeholder in ["{prompt}", "{tools}", "{tool_names}"] {
        if let Some(before) = argument.strip_suffix(placeholder) {
            return (before, Some(placeholder));
        }
    }
    (argument, None)
}

fn fill(argument: &str, prompt: &str, tools: &[String]) -> String {
    match split(argument) {
        (before, Some("{prompt}")) => format!("{before}{prompt}"),
        (before, Some("{tools}")) => format!("{before}{}", tools.join(",")),
        (before, Some(_)) => {
            let mut names: Vec<&str> = tools.iter().map(|tool| name_of(tool)).collect();
            names.dedup();
            format!("{before}{}", names.join(","))
        }
        (argument, None) => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: &str) -> Definition {
        Definition::read(json.as_bytes()).unwrap()
    }

    fn tools(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prompt_is_one_argument_whatever_it_holds() {
        let agent = definition(r#"{"argv": ["a", "--prompt={prompt}", "--fast"], "prompt": "argument"}"#);
        for prompt in ["--yolo", "a b", "$(rm -rf /)", "\"; x\n'", "{tools}", "--", ""] {
            let call = agent.render(None, &[], prompt, false).unwrap();
            assert_eq!(call.argv, ["a", &format!("--prompt={prompt}"), "--fast"]);
            assert_eq!(call.stdin, None);
        }
        let guarded = definition(r#"{"argv": ["a", "--", "{prompt}"], "prompt": "argument"}"#);
        assert_eq!(
            guarded.render(None, &[], "--yolo", false).unwrap().argv,
            ["a", "--", "--yolo"]
        );
        assert_eq!(agent.render(None, &[], "a\0b", false), Err(RenderError::Nul));
        assert!(matches!(
            agent.render(None, &[], &"x".repeat(200_000), false),
            Err(RenderError::TooLong(_))
        ));
    }

    #[test]
    fn a_role_has_its_own_arguments_and_tools() {
        let agent = definition(
            r#"{"argv": ["a", "--write", "--tools={tools}"], "tools": ["Read", "Bash"],
                "roles": {"reviewer": {"argv": ["a", "--read", "--tools={tools}"], "tools": ["Read"], "reads_only": true}}}"#,
        );
        let argv = |role, allowed: &[&str]| {
            agent
                .render(role, &tools(allowed), "p", false)
                .map(|call| call.argv)
        };
        assert_eq!(argv(None, &[]).unwrap(), ["a", "--write", "--tools=Read,Bash"]);
        assert_eq!(
            argv(Some("poet"), &["Bash(git:*)"]).unwrap(),
            ["a", "--write", "--tools=Bash(git:*)"]
        );
        assert_eq!(
            argv(Some("reviewer"), &[]).unwrap(),
            ["a", "--read", "--tools=Read"]
        );
        assert_eq!(
            argv(Some("reviewer"), &["Bash"]),
            Err(RenderError::Tool("Bash".into(), "Read".into()))
        );
        assert!(agent.reads_only(Some("reviewer")) && !agent.reads_only(None));
        let none = definition(r#"{"argv": ["a"]}"#);
        assert_eq!(
            none.render(None, &tools(&["Read"]), "p", false),
            Err(RenderError::NoTools)
        );
    }

    #[test]
    fn names_of_tools_are_without_their_patterns() {
        let agent = definition(r#"{"argv": ["a", "--only={tool_names}"], "tools": ["Bash", "Read"]}"#);
        let call = agent
            .render(None, &tools(&["Bash(git:*)", "Bash(ls:*)", "Read"]), "p", false)
            .unwrap();
        assert_eq!(
            (call.argv[1].as_str(), call.stdin.as_deref()),
            ("--only=Bash,Read", Some("p"))
        );
    }
}
