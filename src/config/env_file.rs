//! `--env-file FILE`: the settings of a service in the form systemd's `EnvironmentFile=` has, for a
//! person at a terminal and for service managers that know no such files.
//!
//! The program starts itself anew with what the file names, so that everything reads its settings in
//! one way, and no thread runs while the environment changes. What is set already is kept.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The program to be started anew: itself, with other words and another environment.
#[derive(Debug)]
pub struct Restart {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Restart {
    /// What `arguments` ask for; `None` when they name no file.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used, and what to do.
    pub fn asked_for(arguments: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let (arguments, Some(file)) = split(arguments)? else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let file = file.display();
            format!("--env-file: {file} cannot be read: {error}; it is readable for root and for the services' user")
        })?;
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        for (name, value) in parse(&text).map_err(|why| format!("--env-file: {}: {why}", file.display()))? {
            if !environment.iter().any(|(set, _)| *set == *name) {
                environment.push((name.into(), value.into()));
            }
        }
        let strings = |words: Vec<OsString>| words.into_iter().map(c_string).collect::<Result<Vec<_>, _>>();
        let pairs = environment.into_iter().map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            pair
        });
        Ok(Some(Self {
            program: c_string(this_program()?.into())?,
            arguments: strings(arguments)?,
            environment: strings(pairs.collect())?,
        }))
    }

    /// Becomes that program. Returns only when that failed, with why.
    #[must_use]
    pub fn execute(&self) -> std::io::Error {
        let Err(errno) = nix::unistd::execve(&self.program, &self.arguments, &self.environment);
        errno.into()
    }
}

fn this_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("--env-file: this program does not find itself: {error}"))
}

fn c_string(word: OsString) -> Result<CString, String> {
    CString::new(word.into_vec()).map_err(|_| "--env-file: a value holds a NUL byte".to_owned())
}

/// The words without the option, and the file it names.
fn split(arguments: impl Iterator<Item = OsString>) -> Result<(Vec<OsString>, Option<PathBuf>), String> {
    let (mut rest, mut file) = (Vec::new(), None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let named = match argument.as_bytes() {
            // What follows is a program's, not ours.
            b"--" => {
                rest.push(argument);
                rest.extend(arguments);
                break;
            }
            b"--env-file" => Some(arguments.next().ok_or("--env-file: which file?")?),
            other => other
                .strip_prefix(b"--env-file=")
                .map(|name| OsStr::from_bytes(name).to_owned()),
        };
        match named {
            Some(_) if file.is_some() => return Err("--env-file: one file, not several".to_owned()),
            Some(name) => file = Some(Path::new(&name).to_owned()),
            None => rest.push(argument),
        }
    }
    Ok((rest, file))
}

/// Reads `NAME=value` lines as systemd does: comments begin with `#` or `;`, quotes are taken away, a
/// backslash takes the next character as it is, and at the end of a line joins the next one. Nothing
/// is expanded.
///
/// # Errors
///
/// Which line is wrong. Values are not repeated: they may be secrets.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut read = Vec::new();
    let mut characters = Characters {
        rest: text.chars().peekable(),
        line: 1,
    };
    while let Some(pair) = characters.assignment()? {
        read.push(pair);
    }
    Ok(read)
}

struct Characters<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Characters<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn assignment(&mut self) -> Result<Option<(String, String)>, String> {
        loop {
            match self.rest.peek() {
                None => return Ok(None),
                Some('#' | ';') => while self.next().is_some_and(|next| next != '\n') {},
                Some(blank) if blank.is_whitespace() => drop(self.next()),
                Some(_) => break,
            }
        }
        let line = self.line;
        let mut name = String::new();
        while let Some(next) = self.next().filter(|next| *next != '=') {
            if next == '\n' {
                return Err(format!("line {line} must be NAME=value"));
            }
            name.push(next);
        }
        let name = name.trim().to_owned();
        let plain = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
        if name.is_empty()
            || name.starts_with(|first: char| first.is_ascii_digit())
            || !name.chars().all(plain)
        {
            return Err(format!("line {line}: {name:?} is no name of a variable"));
        }
        let value = self
            .value()
            .ok_or(format!("line {line}: the quote of {name} is not closed"))?;
        Ok(Some((name, value)))
    }

    /// Up to the end of the line; `None` when a quote is left open.
    fn value(&mut self) -> Option<String> {
        let mut value = String::new();
        // Blanks at the end go, unless they are quoted.
        let mut kept = 0;
        while let Some(next) = self.next().filter(|next| *next != '\n') {
            match next {
                '\'' | '"' => self.quoted(next, &mut value)?,
                '\\' => value.extend(self.next().filter(|next| *next != '\n')),
                blank if blank.is_whitespace() => {
                    if !value.is_empty() {
                        value.push(blank);
                    }
                    continue;
                }
                other => value.push(other),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }

    fn quoted(&mut self, quote: char, value: &mut String) -> Option<()> {
        loop {
            match self.next()? {
                end if end == quote => return Some(()),
                '\\' if quote == '"' => match self.next()? {
                    '\n' => {}
                    special @ ('"' | '\\' | '`' | '$') => value.push(special),
                    other => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ')
            .map(OsString::from)
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let text = "# note\n; note\n\nA=1\n  B = two words  \nC=\"a \\\"b\\\" \\n $HOME\" \nD='it''s \\n'\nE=a\\\nb\nF=\nG=x#y\nH=\" z \"\n";
        let read = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a \"b\" \\n $HOME"),
            ("D", "its \\n"),
            ("E", "ab"),
            ("F", ""),
            ("G", "x#y"),
            ("H", " z "),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn a_wrong_line_is_named_and_its_value_is_not_shown() {
        for (text, line) in [
            ("A=1\nexport B=s3cret\n", "line 2"),
            ("\n\ns3cret\nA=1", "line 3"),
            ("A=\"s3cret\n", "line 1"),
            ("1A=s3cret", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(line) && !error.contains("s3cret"),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn the_option_is_taken_out_wherever_it_stands_before_the_end_of_options() {
        let (rest, file) = split(words("o --env-file /etc/a runner --slots 2")).unwrap();
        assert_eq!(rest, words("o runner --slots 2").collect::<Vec<_>>());
        assert_eq!(file, Some("/etc/a".into()));
        let (rest, file) = split(words("o submit --env-file=b -- x --env-file=c")).unwrap();
        assert_eq!(rest, words("o submit -- x --env-file=c").collect::<Vec<_>>());
        assert_eq!(file, Some("b".into()));
        assert!(split(words("o --env-file")).is_err());
        assert!(split(words("o --env-file=a --env-file=b")).is_err());
    }
}
