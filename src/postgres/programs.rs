//! Where PostgreSQL's programs are.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// What a private cluster needs of an installation.
const NEEDED: [&str; 3] = ["initdb", "postgres", "psql"];
/// The oldest major version the schema works with.
const OLDEST: u32 = 15;
/// Directories whose subdirectories are installations: those of Debian, of the PostgreSQL project's
/// own packages for Fedora and its kin, and of Homebrew on ARM and Intel.
const INSTALLATIONS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
];
/// The remedy, for people.
const INSTALL: &str = "install them:
  Debian, Ubuntu:  apt-get install postgresql
  Fedora:          dnf install postgresql-server
  macOS:           brew install postgresql@17
or set PG_BIN to the directory that holds them";

/// A directory that holds PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// Looks in `pg_bin` alone if it is given; else in the directories of `path`, then where
    /// packages put them, newest version first.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], which names the packages to install.
    pub fn find(pg_bin: Option<&Path>, path: Option<&OsStr>) -> Result<Self, Error> {
        if let Some(directory) = pg_bin {
            let lacks = missing(directory);
            if !lacks.is_empty() {
                let (directory, lacks) = (directory.display(), lacks.join(", "));
                return Err(Error::Missing(format!(
                    "PG_BIN is {directory}, where there is no {lacks}; set it to the directory that holds \
                     PostgreSQL's programs, or unset it"
                )));
            }
            return Self(directory.to_owned()).new_enough();
        }
        let on_path = path.map(std::env::split_paths).into_iter().flatten();
        on_path
            .chain(installed())
            .find(|directory| directory.is_absolute() && missing(directory).is_empty())
            .map_or_else(
                || {
                    Err(Error::Missing(format!(
                        "PostgreSQL's programs ({}) are missing; {INSTALL}",
                        NEEDED.join(", ")
                    )))
                },
                |directory| Self(directory).new_enough(),
            )
    }

    /// One of the programs.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    fn new_enough(self) -> Result<Self, Error> {
        let program = self.path("postgres");
        let answer = super::during(
            || format!("cannot run {}", program.display()),
            Command::new(&program).arg("--version").output(),
        )?;
        let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        match major_version(&said) {
            Some(major) if major >= OLDEST => Ok(self),
            _ => Err(Error::Missing(format!(
                "{} is {said:?}, but PostgreSQL {OLDEST} or newer is needed; {INSTALL}",
                program.display()
            ))),
        }
    }
}

fn missing(directory: &Path) -> Vec<&'static str> {
    let lacks = |program: &&str| !directory.join(program).is_file();
    NEEDED.into_iter().filter(lacks).collect()
}

/// The `bin` directories of installations, newest first.
fn installed() -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = INSTALLATIONS
        .iter()
        .flat_map(|(parent, prefix)| {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            entries.filter_map(move |entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?;
                Some((
                    major_version(version).unwrap_or_default(),
                    entry.path().join("bin"),
                ))
            })
        })
        .collect();
    found.sort_by_key(|(major, _)| Reverse(*major));
    found.into_iter().map(|(_, directory)| directory)
}

/// The first number of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `@17` or `15`.
fn major_version(text: &str) -> Option<u32> {
    text.split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        for (text, version) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("@17", Some(17)),
            ("9.6", Some(9)),
            ("", None),
        ] {
            assert_eq!(major_version(text), version, "{text}");
        }
    }

    #[test]
    fn pg_bin_is_taken_at_its_word() {
        let said = Programs::find(Some(Path::new("/nowhere")), Some(OsStr::new("/usr/bin")));
        let said = said.unwrap_err().to_string();
        assert!(
            said.contains("PG_BIN is /nowhere, where there is no initdb, postgres, psql"),
            "{said}"
        );
    }
}
