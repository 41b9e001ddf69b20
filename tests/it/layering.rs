//! Holds the table "Floors" of `ARCHITECTURE.md`: who may name whom, what happens in one room only,
//! and how large a room may grow.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

mod examples;
mod scan;

/// A module at the top of `src/` and the modules it may name.
struct Floor {
    name: &'static str,
    may_name: &'static [&'static str],
}

/// The order is the house's, from the ground up.
const FLOORS: &[Floor] = &[
    Floor {
        name: "domain",
        may_name: &[],
    },
    Floor {
        name: "postgres",
        may_name: &[],
    },
    Floor {
        name: "objects",
        may_name: &[],
    },
    Floor {
        name: "shutdown",
        may_name: &["domain"],
    },
    Floor {
        name: "alive",
        may_name: &["domain"],
    },
    Floor {
        name: "config",
        may_name: &["domain"],
    },
    Floor {
        name: "telemetry",
        may_name: &["domain"],
    },
    Floor {
        name: "store",
        may_name: &["domain"],
    },
    Floor {
        name: "app",
        may_name: &["domain", "objects", "store"],
    },
    Floor {
        name: "api",
        may_name: &[
            "domain",
            "objects",
            "store",
            "app",
            "config",
            "telemetry",
            "shutdown",
            "alive",
        ],
    },
    Floor {
        name: "runner",
        may_name: &[
            "domain",
            "objects",
            "store",
            "app",
            "config",
            "telemetry",
            "shutdown",
            "alive",
        ],
    },
    Floor {
        name: "scheduler",
        may_name: &[
            "domain",
            "objects",
            "store",
            "app",
            "config",
            "telemetry",
            "shutdown",
            "alive",
        ],
    },
    Floor {
        name: "cli",
        may_name: &[
            "domain",
            "objects",
            "postgres",
            "shutdown",
            "alive",
            "config",
            "telemetry",
            "store",
            "app",
            "api",
            "runner",
            "scheduler",
        ],
    },
];

/// Floors that change tables through `app` alone; of `store` they name `listen` and the values `app` answers with.
const WRITES_THROUGH_APP: &[&str] = &["runner", "scheduler"];

/// Something that happens in the named rooms only.
struct Confined {
    /// The path as it is written out, with `*` for any ending.
    path: &'static str,
    /// Paths below `src/`: a file, or a directory with its slash.
    rooms: &'static [&'static str],
    remedy: &'static str,
}

const CONFINED: &[Confined] = &[
    Confined {
        path: "sqlx::query*",
        rooms: &["store/"],
        remedy: "write the statement as a function of `store` and call that",
    },
    Confined {
        path: "std::env::var*",
        rooms: &["config.rs", "config/"],
        remedy: "add a setting to `config` and pass its value on",
    },
    Confined {
        path: "tokio::process*",
        rooms: &["runner/process.rs", "runner/process/"],
        remedy: "run it through `runner::process`, which owns children, their groups and their end",
    },
    Confined {
        path: "std::process::Command*",
        rooms: &["postgres.rs", "postgres/"],
        remedy: "run it through `runner::process`; only the private PostgreSQL cluster starts programs of its own",
    },
];

/// Crates `domain` does without: it holds what is true without a database, a network or a runtime.
const NOT_IN_DOMAIN: &[&str] = &["tokio", "sqlx", "axum"];

/// Lines of a file; more than this is more than one idea.
const MOST_LINES: usize = 450;

/// What is wrong with one file, a line each: where, what, and what to do.
fn faults(file: &str, source: &str) -> Vec<String> {
    let module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let mut faults = Vec::new();
    let names = match scan::names(source, &module) {
        Ok(names) => names,
        Err(error) => return vec![format!("src/{file}: cannot be read as Rust: {error}")],
    };
    for (path, line) in &names.paths {
        let fault = confined(file, path)
            .or_else(|| in_domain(file, path))
            .or_else(|| named(module[0], path));
        if let Some(fault) = fault {
            faults.push(format!("src/{file}:{line}: {fault}"));
        }
    }
    for (method, line) in &names.methods {
        if matches!(method.as_str(), "begin()" | "begin_with") && module[0] != "app" {
            faults.push(format!(
                "src/{file}:{line}: `.{method}` outside `app`: a transaction is a use case, make it a function of `app`"
            ));
        }
    }
    faults
}

/// Whether a file holds more than a room does.
fn too_large(file: &str, source: &str) -> Option<String> {
    let lines = source.lines().count();
    (lines > MOST_LINES).then(|| {
        format!(
            "{file}:{MOST_LINES}: {lines} lines, where {MOST_LINES} are the most: split it into rooms of one idea each"
        )
    })
}

fn confined(file: &str, path: &str) -> Option<String> {
    let rule = CONFINED.iter().find(|rule| {
        let stem = rule.path.trim_end_matches('*');
        let all = stem.rsplit_once("::").map(|(parent, _)| format!("{parent}::*"));
        path.starts_with(stem) || all.is_some_and(|all| all == path)
    })?;
    let at_home = rule
        .rooms
        .iter()
        .any(|room| file == *room || (room.ends_with('/') && file.starts_with(room)));
    (!at_home).then(|| format!("`{path}` outside `src/{}`: {}", rule.rooms[0], rule.remedy))
}

fn in_domain(file: &str, path: &str) -> Option<String> {
    let (first, _) = path.split_once("::")?;
    let inside = file == "domain.rs" || file.starts_with("domain/");
    (inside && NOT_IN_DOMAIN.contains(&first)).then(|| {
        format!("`{path}` in `domain`, which holds what is true without {first}: move it up a floor")
    })
}

fn named(floor: &str, path: &str) -> Option<String> {
    let mut segments = path.strip_prefix("crate::")?.split("::");
    let target = segments.next()?;
    // `lib.rs` declares the floors and `main.rs` is the door.
    if floor == target || matches!(floor, "lib" | "main") {
        return None;
    }
    let Some(own) = FLOORS.iter().find(|known| known.name == floor) else {
        return Some(format!(
            "`{floor}` is on no floor: give it a row in tests/it/layering.rs and in ARCHITECTURE.md"
        ));
    };
    if !own.may_name.contains(&target) {
        let allowed = match own.may_name {
            [] => "nothing of ours".to_owned(),
            some => format!("only {}", some.join(", ")),
        };
        return Some(format!(
            "`{floor}` names `{path}`, and may name {allowed}: take what is needed as a value, or move the code up a floor"
        ));
    }
    let (module, item) = (segments.next(), segments.next());
    let calls = item.is_some_and(|item| item.starts_with(|c: char| c.is_ascii_lowercase() || c == '*'));
    (target == "store" && WRITES_THROUGH_APP.contains(&floor) && module != Some("listen") && calls).then(
        || {
            format!(
                "`{floor}` calls `{path}`, and of `store` may call only `listen`: make it a use case of `app`"
            )
        },
    )
}

fn sources(below: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(below)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect();
    found.sort();
    found
}

/// Every file of `src/` that is not a test, by its path below `src/`.
fn product() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read: Vec<(String, String)> = sources(&root)
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    let tests: Vec<String> = read
        .iter()
        .flat_map(|(file, source)| test_files(file, source))
        .collect();
    read.into_iter()
        .filter(|(file, _)| !tests.iter().any(|test| file.starts_with(test)))
        .collect()
}

/// Where the `#[cfg(test)] mod name;` of a file have their own: `a/name.rs` and `a/name/`.
fn test_files(file: &str, source: &str) -> Vec<String> {
    let module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let names = scan::names(source, &module)
        .map(|names| names.test_modules)
        .unwrap_or_default();
    let parent = if file == "lib.rs" {
        String::new()
    } else {
        format!("{}/", module.join("/"))
    };
    names
        .iter()
        .flat_map(|name| [format!("{parent}{name}.rs"), format!("{parent}{name}/")])
        .collect()
}

#[test]
fn every_floor_names_only_the_floors_it_may() {
    let files = product();
    assert!(
        files.len() > 30,
        "only {} files found under src: the scan sees nothing",
        files.len()
    );
    let mut report = String::new();
    for (file, source) in &files {
        for fault in faults(file, source) {
            writeln!(report, "{fault}").unwrap();
        }
    }
    assert!(
        report.is_empty(),
        "the house's rules (ARCHITECTURE.md, \"Floors\"):\n{report}"
    );
}

#[test]
fn every_room_is_small_those_of_tests_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|below| sources(&root.join(below)))
        .collect();
    assert!(files.len() > 300, "only {} files found", files.len());
    let large: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            too_large(name, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(
        large.is_empty(),
        "the house's rules (ARCHITECTURE.md):\n{}",
        large.join("\n")
    );
}

#[test]
fn every_module_at_the_top_is_on_a_floor() {
    let tops: BTreeSet<String> = product()
        .iter()
        .map(|(file, _)| file.split(['/', '.']).next().unwrap().to_owned())
        .filter(|top| !matches!(top.as_str(), "lib" | "main"))
        .collect();
    let floors: BTreeSet<String> = FLOORS.iter().map(|floor| floor.name.to_owned()).collect();
    let missing: Vec<_> = tops.difference(&floors).collect();
    assert!(
        missing.is_empty(),
        "no floor for {missing:?}: add a row here and in ARCHITECTURE.md"
    );
}

#[test]
fn the_map_shows_every_floor() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for floor in FLOORS {
        let row = format!("`{}`", floor.name);
        let shown = map.lines().any(|line| {
            line.strip_prefix('|')
                .and_then(|cells| cells.split('|').next())
                .is_some_and(|first| first.contains(&row))
        });
        assert!(shown, "ARCHITECTURE.md has no row for the floor {row}");
    }
}
