//! Programs an agent needs, and whether a version will do.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use garde::Validate;
use regex::Regex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A program an agent needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Its name, found by `PATH`.
    #[garde(custom(program_name))]
    #[schema(example = "claude", pattern = r"^[^\u0000\n/-][^\u0000\n/]{0,254}$")]
    pub name: String,
    /// The oldest version that will do.
    #[garde(inner(custom(version)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2.0.0")]
    pub minimum: Option<String>,
    /// Arguments that make it say its version.
    #[garde(length(max = 10))]
    #[serde(default = "version_flag")]
    #[schema(max_items = 10, default = json!(["--version"]))]
    pub version_argv: Vec<String>,
    /// Where the version is in what it says: a regular expression, whose first group is it.
    #[garde(custom(pattern))]
    #[serde(default = "version_pattern")]
    #[schema(max_length = 500, default = r"(\d+(?:\.\d+)+)", pattern = r"\(")]
    pub version_pattern: String,
}

fn version_flag() -> Vec<String> {
    vec!["--version".to_owned()]
}

fn version_pattern() -> String {
    r"(\d+(?:\.\d+)+)".to_owned()
}

fn program_name(name: &str, (): &()) -> garde::Result {
    let fits = (1..=255).contains(&name.len()) && !name.contains(['/', '\0', '\n']) && !name.starts_with('-');
    match fits {
        true => Ok(()),
        false => super::refuse(format!(
            "{name:?} is no name of a program: no `/`, and no `-` at its beginning"
        )),
    }
}

fn version(text: &str, (): &()) -> garde::Result {
    text.parse::<Version>().map(drop).or_else(super::refuse)
}

fn pattern(text: &str, (): &()) -> garde::Result {
    if text.len() > 500 {
        return super::refuse("has more than 500 bytes");
    }
    match Regex::new(text) {
        Ok(regex) if regex.captures_len() > 1 => Ok(()),
        Ok(_) => super::refuse("has no group; write ( ) around the version"),
        Err(error) => super::refuse(error.to_string()),
    }
}

impl Binary {
    /// A program that is asked for its version as most are.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            minimum: None,
            version_argv: version_flag(),
            version_pattern: version_pattern(),
        }
    }

    /// Asks for at least this version, where less was asked for.
    pub fn raise(&mut self, least: &Version) {
        let asked = self
            .minimum
            .as_deref()
            .and_then(|text| text.parse::<Version>().ok());
        if asked.is_none_or(|asked| asked < *least) {
            self.minimum = Some(least.to_string());
        }
    }
}

/// Why a program will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What it said holds no version.
    #[error("what it says holds no version that {pattern:?} matches: {said:?}")]
    Unreadable {
        /// Where the version was looked for.
        pattern: String,
        /// The beginning of what it said.
        said: String,
    },
    /// It is too old.
    #[error("is version {found}; {minimum} is the oldest that will do")]
    TooOld {
        /// Its version.
        found: Version,
        /// The oldest that will do.
        minimum: Version,
    },
}

impl Binary {
    /// The version in what the program said of itself, if it will do.
    ///
    /// # Errors
    ///
    /// [`Unfit`].
    pub fn judge(&self, said: &str) -> Result<Version, Unfit> {
        let found = Regex::new(&self.version_pattern)
            .ok()
            .and_then(|regex| regex.captures(said)?.get(1)?.as_str().parse::<Version>().ok());
        let Some(found) = found else {
            return Err(Unfit::Unreadable {
                pattern: self.version_pattern.clone(),
                said: said.trim().chars().take(200).collect(),
            });
        };
        match self.minimum.as_deref().map(str::parse::<Version>) {
            Some(Ok(minimum)) if found < minimum => Err(Unfit::TooOld { found, minimum }),
            _ => Ok(found),
        }
    }
}

/// Numbers with dots between them. What is missing is 0: `2` is `2.0.0`.
#[derive(Clone, Debug)]
pub struct Version(Vec<u64>);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u64>> = text.trim().split('.').map(|part| part.parse().ok()).collect();
        match parts {
            Some(parts) if parts.len() <= 8 => Ok(Self(parts)),
            _ => Err(format!("{text:?} is no version: numbers with dots between them")),
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |version: &Self, at: usize| version.0.get(at).copied().unwrap_or_default();
        (0..self.0.len().max(other.0.len()))
            .map(|at| part(self, at).cmp(&part(other, at)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(minimum: &str) -> Binary {
        Binary {
            name: "a".into(),
            minimum: Some(minimum.into()),
            version_argv: version_flag(),
            version_pattern: version_pattern(),
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (said, minimum, fits) in [
            ("2.0.14 (Claude Code)", "2.0.0", true),
            ("codex-cli 0.99.0", "0.100", false),
            ("1.10", "1.9.9", true),
            ("v3.0", "3", true),
            ("0.0.1", "0.0.1", true),
        ] {
            assert_eq!(
                binary(minimum).judge(said).is_ok(),
                fits,
                "{said} against {minimum}"
            );
        }
        assert!(matches!(
            binary("1").judge("no idea"),
            Err(Unfit::Unreadable { .. })
        ));
        for bad in ["", "1.", "x", "1.2-beta", "99999999999999999999"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }
}
