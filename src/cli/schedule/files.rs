//! Files of schedules: YAML or JSON, one or several in a file, ours or the predecessor's.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::domain::schedule::{Definition, is_predecessors, of_predecessor};

/// A definition, and where it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) definition: Definition,
    /// As `jobs/nightly.yaml` or, of several, `jobs/all.yaml, schedule 2`.
    pub(super) place: String,
}

/// Everything below these files and directories; `-` is standard input. What is wrong anywhere is said
/// all at once, with its place.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Found>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        for file in files(path)? {
            read(&file, &mut found, &mut faults)?;
        }
    }
    let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for Found { definition, place } in &found {
        let key = (definition.job.project_id.as_str(), definition.name.as_str());
        if let Some(first) = seen.insert(key, place) {
            faults.push(format!("{place}: {}/{} is in {first} as well", key.0, key.1));
        }
    }
    ensure!(
        faults.is_empty(),
        "nothing was changed:\n  {}",
        faults.join("\n  ")
    );
    Ok(found)
}

/// The file itself, or every file of a directory and those below it that looks like one of schedules.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", path.display());
    if path.as_os_str() == "-" || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).with_context(cannot)? {
        entries.push(entry.with_context(cannot)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = entry.extension().and_then(|extension| extension.to_str());
        if hidden {
            continue;
        } else if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if extension.is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json")) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn read(file: &Path, found: &mut Vec<Found>, faults: &mut Vec<String>) -> anyhow::Result<()> {
    let (name, text) = text_of(file)?;
    let documents = match documents(
        &text,
        file.extension().is_some_and(|extension| extension == "json"),
    ) {
        Ok(documents) => documents,
        Err(error) => {
            faults.push(format!("{name}: {error}"));
            return Ok(());
        }
    };
    let all: Vec<Value> = documents.into_iter().flat_map(several).collect();
    let alone = all.len() == 1;
    for (index, document) in all.into_iter().enumerate() {
        let place = match alone {
            true => name.clone(),
            false => format!("{name}, schedule {}", index + 1),
        };
        let (document, notes) = match is_predecessors(&document) {
            true => of_predecessor(&document),
            false => (document, Vec::new()),
        };
        for note in notes {
            tracing::warn!("{place}: {note}");
        }
        match Definition::read_value(document) {
            Ok(definition) => found.push(Found { definition, place }),
            Err(violations) => {
                faults.extend(violations.iter().map(|violation| format!("{place}: {violation}")));
            }
        }
    }
    Ok(())
}

fn text_of(file: &Path) -> anyhow::Result<(String, String)> {
    if file.as_os_str() != "-" {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok((file.display().to_string(), text));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    if text.trim().is_empty() {
        bail!("standard input is empty; pass schedules as YAML or JSON");
    }
    Ok(("standard input".to_owned(), text))
}

fn documents(text: &str, is_json: bool) -> Result<Vec<Value>, String> {
    if is_json {
        let read = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        return read.collect::<Result<_, _>>().map_err(|error| error.to_string());
    }
    // YAML 1.2: `no` and `off` are words.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| error.to_string())
}

/// A document is a schedule, a list of them, or an object with the list under `schedules`.
fn several(document: Value) -> Vec<Value> {
    match document {
        Value::Null => Vec::new(),
        Value::Array(all) => all,
        Value::Object(mut map) if map.len() == 1 && map.contains_key("schedules") => {
            several(map.remove("schedules").unwrap_or_default())
        }
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_schedules_of_a_file_are_found_in_every_form() {
        let names = |text: &str, is_json: bool| -> Vec<String> {
            let documents = documents(text, is_json).unwrap();
            let all = documents.into_iter().flat_map(several);
            all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("name: a\n---\nname: b\n", false), ["a", "b"]);
        assert_eq!(names("- name: a\n- name: b\n", false), ["a", "b"]);
        assert_eq!(names("schedules:\n  - {name: a}\n---\n# nothing\n", false), ["a"]);
        assert_eq!(names(r#"[{"name": "a"}, {"name": "b"}]"#, true), ["a", "b"]);
        assert_eq!(names(r#"{"name": "a"} {"name": "b"}"#, true), ["a", "b"]);
        assert!(documents("a: [", false).is_err());
    }

    #[test]
    fn expression_in_yaml_is_text_and_so_are_words_that_look_like_something_else() {
        let yaml = "name: \"1\"\nexpression: 0 2 * * *\nzone: UTC\njob: {goal: no, project_id: demo}\n";
        let one = documents(yaml, false).unwrap().remove(0);
        let definition = Definition::read_value(one).unwrap();
        assert_eq!(definition.expression.as_str(), "0 2 * * *");
        assert_eq!(definition.job.goal, "no");
    }

    #[test]
    fn bomb_of_references_is_refused() {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            yaml.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{before}"); 10].join(", ")
            ));
        }
        assert!(documents(&yaml, false).is_err());
    }
}
