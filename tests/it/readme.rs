//! Reads the commands of `README.md`, so that what a newcomer copies is what a test runs.

/// The commands of the fenced block number `index` (from 0) that is marked as a shell's (`sh`,
/// `bash`, `console`), without prompts, comments and output; a line that ends in `\` goes on.
///
/// In a `console` block only lines after a `$ ` are commands, the others are what they print.
fn commands(markdown: &str, index: usize) -> Result<Vec<String>, String> {
    let blocks = shell_blocks(markdown)?;
    let (language, lines) = blocks.get(index).ok_or_else(|| {
        format!(
            "README.md has {} command blocks, none with number {index}",
            blocks.len()
        )
    })?;
    let mut commands = Vec::new();
    let mut pending = String::new();
    for line in lines {
        let typed = match line.strip_prefix("$ ") {
            Some(typed) => typed,
            None if pending.is_empty() && *language == "console" => continue,
            None => line,
        };
        match typed.strip_suffix('\\') {
            Some(start) => {
                pending.push_str(start.trim());
                pending.push(' ');
            }
            None => {
                pending.push_str(uncommented(typed).trim());
                commands.push(std::mem::take(&mut pending));
            }
        }
    }
    if !pending.is_empty() {
        return Err(format!(
            "command block {index} of README.md ends in the middle of `{pending}`"
        ));
    }
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

/// The words the program is given when `command` runs it through cargo, or `None` for another command.
fn program_arguments(command: &str) -> Option<Vec<&str>> {
    let mut words = command.split_whitespace();
    if (words.next(), words.next()) != (Some("cargo"), Some("run")) {
        return None;
    }
    Some(words.skip_while(|word| *word != "--").skip(1).collect())
}

type Block<'a> = (&'a str, Vec<&'a str>);

fn shell_blocks(markdown: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some("```") => break,
                Some(line) => block.push(line),
                None => {
                    return Err(format!(
                        "README.md opens a block of {language} and never closes it"
                    ));
                }
            }
        }
        if matches!(language, "sh" | "bash" | "console") {
            blocks.push((language, block));
        }
    }
    Ok(blocks)
}

fn uncommented(line: &str) -> &str {
    if line.starts_with('#') {
        ""
    } else {
        line.split(" #").next().unwrap_or(line)
    }
}

const SAMPLE: &str = "\
# orchestrator

One sentence.

```sh
# a comment
cargo run -- dev --demo   # the demonstration
cargo test
```

```json
{\"not\": \"a command\"}
```

```console
$ curl --fail \\
    --data '{}' \\
    http://127.0.0.1:8080/webhook
{\"status\":\"accepted\"}
$ orchestrator jobs
```
";

#[test]
fn commands_are_read_without_comments_prompts_and_output() {
    assert_eq!(
        commands(SAMPLE, 0).unwrap(),
        ["cargo run -- dev --demo", "cargo test"]
    );
    assert_eq!(
        commands(SAMPLE, 1).unwrap(),
        [
            "curl --fail --data '{}' http://127.0.0.1:8080/webhook",
            "orchestrator jobs"
        ]
    );
}

#[test]
fn a_block_that_is_missing_or_cut_off_is_an_error() {
    assert_eq!(
        commands(SAMPLE, 2).unwrap_err(),
        "README.md has 2 command blocks, none with number 2"
    );
    assert!(
        commands("```sh\ncargo test\n", 0)
            .unwrap_err()
            .contains("never closes")
    );
    assert!(
        commands("```sh\ncurl \\\n```\n", 0)
            .unwrap_err()
            .contains("in the middle of `curl")
    );
}

#[test]
fn cargo_run_becomes_the_programs_own_arguments() {
    assert_eq!(
        program_arguments("cargo run -- dev --demo").unwrap(),
        ["dev", "--demo"]
    );
    assert_eq!(
        program_arguments("cargo run --release -q -- jobs").unwrap(),
        ["jobs"]
    );
    assert_eq!(program_arguments("cargo run").unwrap(), Vec::<&str>::new());
    assert_eq!(program_arguments("cargo test"), None);
}

const README: &str = include_str!("../../README.md");

#[test]
fn first_commands_of_the_readme_run_a_job_and_the_tests() {
    let block = commands(README, 0).unwrap();
    assert_eq!(block.len(), 2, "{block:?}");
    assert_eq!(block[1], "cargo test", "the second command is this run");
    let directory = crate::support::scratch();
    // What the command says, in a place of its own.
    let place = [
        ("ORCHESTRATOR_DATA_DIR", directory.to_str().unwrap()),
        ("API_BIND", "127.0.0.1:0"),
    ];
    let mut dev = crate::support::Program::start(&program_arguments(&block[0]).unwrap(), &place);
    dev.hear("orchestrator is ready");
    dev.hear("is succeeded");
    dev.hear("curl -s http://127.0.0.1:");
    dev.signal(nix::sys::signal::Signal::SIGINT);
    assert!(dev.end().success(), "{}", dev.said());
}

#[test]
fn readme_opens_with_one_sentence_and_the_two_commands() {
    let mut paragraphs = README.split("\n\n");
    assert_eq!(paragraphs.next(), Some("# orchestrator"));
    let sentence = paragraphs.next().unwrap();
    assert_eq!(
        sentence.matches(". ").count() + usize::from(sentence.ends_with('.')),
        1,
        "{sentence}"
    );
    assert!(
        paragraphs
            .next()
            .unwrap()
            .starts_with("```sh\ncargo run -- dev --demo")
    );
}
