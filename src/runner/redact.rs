//! Secrets are taken out of what steps print before it is stored or sent.
//!
//! Two kinds are known: values that were named (a variable the operator calls sensitive), and the shapes of
//! keys that their issuers made to be recognised. Nothing else is touched: a word is not a secret.
//!
//! Output comes in pieces, and a key may be cut anywhere. So what could be the beginning of a secret is held
//! back until what follows says that it is not, or the stream ends; a pause does not let it go. Colours do
//! not hide a key: it is looked for in the text as it reads without them, and in what it leaves out, such as where links lead.

mod armour;
mod plain;
mod shapes;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::process::Stream;
use crate::domain::spec::JobSpec;
use plain::Plain;

/// Which variables hold secrets, and what those of this process hold.
#[derive(Clone, Debug, Default)]
pub struct Sensitive {
    /// Names of variables.
    pub names: Vec<String>,
    /// What this process was given.
    pub secrets: Secrets,
}

impl Sensitive {
    /// What must not be seen of any step of a job: what one was given lies in the workspace for those behind it.
    pub(super) fn of_job(&self, spec: &JobSpec) -> Secrets {
        let all = spec.steps.iter().flat_map(|step| &step.env);
        let named = all.filter(|(name, _)| self.names.contains(name));
        self.secrets.and(named.map(|(_, value)| value.as_str()))
    }
}

/// What is written in place of a secret.
pub const REDACTED: &str = "[REDACTED]";
/// Fewest characters of a value that is looked for: a shorter one would be found in ordinary words.
const SHORTEST: usize = 8;
/// Most bytes held back; of a longer word all but [`TAIL`] goes on.
const MOST_HELD: usize = 32 * 1024;
/// Bytes of a word that stay held when the rest goes on.
const TAIL: usize = 4 * 1024;

/// How each of `values` that is long enough may be written.
fn all_spellings<'a>(values: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = String> {
    let values = values.into_iter().map(str::trim);
    values
        .filter(|value| value.chars().count() >= SHORTEST)
        .flat_map(spellings)
}

/// Values that must not leave the runner. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    values: Arc<[String]>,
    known: Option<AhoCorasick>,
    longest: usize,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secrets({} values)", self.values.len())
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self::of([])
    }
}

impl Secrets {
    /// Those of `values` that are long enough, also as JSON and base64 write them.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::spelled(all_spellings(values).collect())
    }

    fn spelled(mut all: Vec<String>) -> Self {
        // The longest first, so that of two values that begin alike the whole of the longer one goes.
        all.sort_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        all.dedup();
        // It fails for gigabytes of values only, which no environment holds. Of no values it would be made with each
        // attempt, and take longer than all else that an attempt does by itself.
        let known = (!all.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostFirst)
                .build(&all)
        });
        Self {
            longest: all.first().map_or(0, String::len),
            known: known.and_then(Result::ok),
            values: all.into(),
        }
    }

    /// These and further ones.
    #[must_use]
    pub fn and<'a>(&'a self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut values = values.into_iter().peekable();
        match values.peek() {
            None => self.clone(),
            Some(_) => Self::spelled(self.values.iter().cloned().chain(all_spellings(values)).collect()),
        }
    }

    /// These and those.
    #[must_use]
    pub(super) fn with(&self, others: &Self) -> Self {
        match others.values.iter().all(|value| self.values.contains(value)) {
            true => self.clone(),
            false => Self::spelled(self.values.iter().chain(&*others.values).cloned().collect()),
        }
    }

    /// A whole text without its secrets, and how many were taken out.
    #[must_use]
    pub fn redact(&self, text: &str) -> (String, u32) {
        let (shown, hidden) = self.unhide(text, true);
        let text = shown.as_deref().unwrap_or(text);
        let plain = Plain::of(text);
        let found = self.find(&plain.text);
        (plain.without(text, &found, text.len()), hidden + count(&found))
    }

    /// A text without the secrets in what a terminal does not show, if there are any, and how many there were.
    fn unhide(&self, raw: &str, whole: bool) -> (Option<String>, u32) {
        let plain = Plain::of(raw);
        let within = |gap: Range<usize>| {
            let found = self.find(&raw[gap.clone()]);
            found
                .into_iter()
                .map(move |range| gap.start + range.start..gap.start + range.end)
        };
        let (mut safe, mut done, mut number) = (String::new(), 0, 0);
        for range in plain.hidden(raw, whole).flat_map(within) {
            safe.push_str(&raw[done..range.start]);
            safe.push_str(REDACTED);
            (done, number) = (range.end, number + 1);
        }
        if number == 0 {
            return (None, 0);
        }
        safe.push_str(&raw[done..]);
        (Some(safe), number)
    }

    /// Whether a text holds one of the values that were named.
    #[must_use]
    pub fn names(&self, text: &[u8]) -> bool {
        self.known.as_ref().is_some_and(|known| known.is_match(text))
    }

    /// Where secrets are in a text without escape sequences, in order and apart from each other.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let known = self.known.iter().flat_map(|known| known.find_iter(text));
        let mut found: Vec<Range<usize>> = known.map(|found| found.range()).collect();
        found.extend(shapes::find(text));
        found.extend(armour::find(text));
        found.sort_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match apart.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        apart
    }

    /// Where what has to wait begins: whatever could be the beginning of a secret.
    fn edge(&self, text: &str) -> usize {
        let word = shapes::last_word(text);
        let key = armour::open(text).unwrap_or(text.len());
        word.min(key).min(self.begun(text))
    }

    /// Where a value begins that is not complete yet.
    fn begun(&self, text: &str) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |start: &usize| {
            let end = &text.as_bytes()[*start..];
            self.values
                .iter()
                .any(|value| value.len() > end.len() && value.as_bytes().starts_with(end))
        };
        (from..text.len())
            .filter(|start| text.is_char_boundary(*start))
            .find(begins)
            .unwrap_or(text.len())
    }
}

/// A value as it may be written.
fn spellings(value: &str) -> Vec<String> {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    let quoted = quoted.trim_matches('"').to_owned();
    let encoded = BASE64_STANDARD.encode(value).trim_end_matches('=').to_owned();
    let mut all = vec![value.to_owned()];
    all.extend([quoted].into_iter().filter(|quoted| quoted != value));
    // The last character depends on what follows the value.
    all.push(encoded[..encoded.len() - 1].to_owned());
    all
}

fn count(found: &[Range<usize>]) -> u32 {
    found.len().try_into().unwrap_or(u32::MAX)
}

/// Takes secrets out of two streams that arrive in pieces.
pub(super) struct Redactor<'a> {
    secrets: &'a Secrets,
    stdout: Held,
    stderr: Held,
    count: u32,
}

/// What of a stream has to wait.
#[derive(Default)]
struct Held {
    text: String,
    /// The rest of a word is a secret's.
    swallowing: bool,
}

impl<'a> Redactor<'a> {
    pub(super) fn new(secrets: &'a Secrets) -> Self {
        Self {
            secrets,
            stdout: Held::default(),
            stderr: Held::default(),
            count: 0,
        }
    }

    /// How many secrets were taken out so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What can go on of a stream, now that `more` has come.
    pub(super) fn pass(&mut self, stream: Stream, more: &str) -> String {
        let held = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let (text, count) = held.pass(self.secrets, more);
        self.count += count;
        text
    }

    /// What was held, when the streams end.
    pub(super) fn finish(&mut self) -> [(Stream, String); 2] {
        let mut last = |held: &mut Held| {
            let (text, count) = self.secrets.redact(&std::mem::take(&mut held.text));
            self.count += count;
            text
        };
        [
            (Stream::Stdout, last(&mut self.stdout)),
            (Stream::Stderr, last(&mut self.stderr)),
        ]
    }
}

impl Held {
    fn pass(&mut self, secrets: &Secrets, more: &str) -> (String, u32) {
        let more = self.past_the_secret(more);
        self.text.push_str(more);
        // A word that only grows is looked at when it ends, or each time it has become too long.
        let only_grows = more.bytes().all(shapes::is_inner);
        if only_grows && self.text.len() < MOST_HELD {
            return (String::new(), 0);
        }
        let (shown, hidden) = secrets.unhide(&self.text, false);
        if let Some(shown) = shown {
            self.text = shown;
        }
        let plain = Plain::of(&self.text);
        let mut found = secrets.find(&plain.text);
        let mut edge = secrets.edge(&plain.text);
        if self.text.len() >= MOST_HELD && edge < plain.text.len() {
            let tail = plain.text.len().saturating_sub(TAIL.max(secrets.longest));
            edge = edge.max(plain.text.floor_char_boundary(tail));
            if let Some(last) = found.last().filter(|last| last.end > edge) {
                // As long as this it is let go in parts, or it would have to be held whole.
                self.swallowing = last.end == plain.text.len();
                edge = last.end;
            }
        }
        if let Some(first) = found.iter().position(|range| range.end > edge) {
            edge = edge.min(found[first].start);
            found.truncate(first);
        }
        let raw = plain.raw_edge(&self.text, edge);
        let safe = plain.without(&self.text, &found, raw);
        drop(plain);
        self.text.drain(..raw);
        (safe, hidden + count(&found))
    }

    /// Leaves out the rest of a secret that was too long to be held.
    fn past_the_secret<'m>(&mut self, more: &'m str) -> &'m str {
        if !self.swallowing {
            return more;
        }
        let rest = more.bytes().position(|byte| !shapes::is_inner(byte));
        self.swallowing = rest.is_none();
        &more[rest.unwrap_or(more.len())..]
    }
}

#[cfg(test)]
mod tests;
