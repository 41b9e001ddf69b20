//! An agent's output, read as it comes: bounded, and whatever it is.

use serde_json::Value;

use super::output::{Field, Format, Output, Take};

/// Most bytes of one document; a longer one is left out.
const MAX_DOCUMENT: usize = 8 * 1024 * 1024;
/// Most characters of text that are kept.
const MAX_TEXT: usize = 256 * 1024;
/// Most characters of an error that are kept.
const MAX_ERROR: usize = 1000;
/// The highest cost that is believed, in millionths of a US dollar.
const MAX_COST: i64 = 1_000_000 * 1_000_000;

/// What was found in an agent's output. What it did not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its last words.
    pub text: Option<String>,
    /// What it calls its session.
    pub session_id: Option<String>,
    /// Tokens it read.
    pub input_tokens: Option<i64>,
    /// Tokens it wrote.
    pub output_tokens: Option<i64>,
    /// Tokens of those it read that came out of a cache.
    pub cached_tokens: Option<i64>,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_usd: Option<i64>,
    /// What went wrong, in its own words.
    pub error: Option<String>,
    /// Why its output is not what its definition says, if it is not.
    pub unreadable: Option<String>,
}

/// Reads the standard output of one run.
#[derive(Debug)]
pub struct Reader<'a> {
    output: &'a Output,
    buffer: Vec<u8>,
    /// The document that is being read is longer than may be.
    overfull: bool,
    documents: u64,
    left_out: u64,
    noise: u64,
    text: Words,
    session_id: Words,
    error: Words,
    input_tokens: Number,
    output_tokens: Number,
    cached_tokens: Number,
    cost: Number,
}

impl<'a> Reader<'a> {
    /// A reader of what `output` describes.
    #[must_use]
    pub fn new(output: &'a Output) -> Self {
        Self {
            output,
            buffer: Vec::new(),
            overfull: false,
            documents: 0,
            left_out: 0,
            noise: 0,
            text: Words::default(),
            session_id: Words::default(),
            error: Words::default(),
            input_tokens: Number::default(),
            output_tokens: Number::default(),
            cached_tokens: Number::default(),
            cost: Number::default(),
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if self.output.format == Format::Jsonl {
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                self.keep(&bytes[..end]);
                self.line();
                bytes = &bytes[end + 1..];
            }
        }
        self.keep(bytes);
    }

    /// What was found, when there is nothing more.
    #[must_use]
    pub fn finish(mut self) -> Reading {
        match self.output.format {
            Format::Text => {
                let text = String::from_utf8_lossy(&self.buffer).trim().to_owned();
                self.text.value = Some(text);
            }
            Format::Json => self.whole(),
            Format::Jsonl => self.line(),
        }
        let unreadable = self.unreadable();
        Reading {
            text: self.text.value.map(|text| readable(&text, MAX_TEXT)),
            session_id: self.session_id.value.map(|id| readable(&id, MAX_ERROR)),
            input_tokens: self.input_tokens.value,
            output_tokens: self.output_tokens.value,
            cached_tokens: self.cached_tokens.value,
            cost_micro_usd: self.cost.value,
            error: self.error.value.map(|error| readable(&error, MAX_ERROR)),
            unreadable,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_DOCUMENT.saturating_sub(self.buffer.len());
        if bytes.len() > room {
            self.overfull = true;
        }
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.buffer);
        if std::mem::take(&mut self.overfull) {
            self.left_out += 1;
        } else if !line.trim_ascii().is_empty() {
            match serde_json::from_slice::<Value>(&line) {
                Ok(document) if document.is_object() => self.take(&document),
                _ => self.noise += 1,
            }
        }
    }

    /// One document, also with words for people around it.
    fn whole(&mut self) {
        let all = std::mem::take(&mut self.buffer);
        if self.overfull {
            self.left_out += 1;
            return;
        }
        let from_line = |at: usize| {
            let mut documents = serde_json::Deserializer::from_slice(&all[at..]).into_iter::<Value>();
            documents.next().and_then(Result::ok)
        };
        let begins = all
            .iter()
            .enumerate()
            .filter(|(at, byte)| matches!(byte, b'{' | b'[') && (*at == 0 || all[at - 1] == b'\n'));
        // A few beginnings at most: each is parsed to its end.
        let found = begins.take(16).find_map(|(at, _)| from_line(at));
        match found.or_else(|| serde_json::from_slice(&all).ok()) {
            Some(Value::Array(items)) => items.iter().for_each(|item| self.take(item)),
            Some(document) => self.take(&document),
            None => self.noise += u64::from(!all.trim_ascii().is_empty()),
        }
    }

    fn take(&mut self, document: &Value) {
        self.documents += 1;
        let Output {
            text,
            session_id,
            input_tokens,
            output_tokens,
            cached_tokens,
            cost_usd,
            error,
            ..
        } = self.output;
        self.text.take(text.as_ref(), document);
        self.session_id.take(session_id.as_ref(), document);
        self.error.take(error.as_ref(), document);
        self.input_tokens.take(input_tokens.as_ref(), document, 1.0);
        self.output_tokens.take(output_tokens.as_ref(), document, 1.0);
        self.cached_tokens.take(cached_tokens.as_ref(), document, 1.0);
        self.cost.take(cost_usd.as_ref(), document, 1_000_000.0);
    }

    fn unreadable(&self) -> Option<String> {
        let kind = match self.output.format {
            Format::Text => return None,
            Format::Json => "a JSON document",
            Format::Jsonl => "JSON lines",
        };
        if self.documents == 0 {
            let instead = match (self.left_out, self.noise) {
                (0, 0) => "it printed nothing".to_owned(),
                (0, _) => "it printed something else".to_owned(),
                _ => format!("what it printed is larger than {MAX_DOCUMENT} bytes"),
            };
            return Some(format!("it should print {kind}, and {instead}"));
        }
        let wants_text =
            self.output.text.is_some() && self.text.value.is_none() && self.error.value.is_none();
        wants_text.then(|| format!("it printed {kind}, without an answer where its definition looks for one"))
    }
}

/// Words that are looked for.
#[derive(Debug, Default)]
struct Words {
    value: Option<String>,
}

impl Words {
    fn take(&mut self, field: Option<&Field>, document: &Value) {
        let Some(field) = field else { return };
        let found: Vec<String> = field.find(document).into_iter().map(plain).collect();
        if found.is_empty() {
            return;
        }
        let found = found.concat();
        match (field.take.unwrap_or(Take::Last), &mut self.value) {
            (Take::First, Some(_)) => {}
            (Take::All, Some(value)) if value.len() < MAX_TEXT * 4 => value.push_str(&found),
            (Take::All, Some(_)) => {}
            (_, value) => *value = Some(found),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number that is looked for. What is below 0 or beyond belief is none.
#[derive(Debug, Default)]
struct Number {
    value: Option<i64>,
}

impl Number {
    fn take(&mut self, field: Option<&Field>, document: &Value, unit: f64) {
        let Some(field) = field else { return };
        let found: Vec<i64> = field
            .find(document)
            .into_iter()
            .filter_map(Value::as_f64)
            .filter_map(|number| whole(number * unit))
            .collect();
        if found.is_empty() {
            return;
        }
        let sum = found.into_iter().fold(0, i64::saturating_add);
        let value = match (field.take.unwrap_or(Take::All), self.value) {
            (Take::First, Some(first)) => first,
            (Take::All, Some(before)) => before.saturating_add(sum),
            _ => sum,
        };
        self.value = Some(value.min(MAX_COST));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
#[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
fn whole(number: f64) -> Option<i64> {
    (0.0..=MAX_COST as f64)
        .contains(&number)
        .then(|| number.round() as i64)
}

/// Text that PostgreSQL takes, and not too much of it.
fn readable(text: &str, most: usize) -> String {
    let text = text.replace('\0', "␀");
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}\n… {} bytes left out …", &text[..end], text.len() - end),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(json: &str) -> Output {
        serde_json::from_str(json).unwrap()
    }

    fn lines() -> Output {
        output(
            r#"{"format": "jsonl", "text": {"at": ["/content", "/content/*/text"], "where": {"/role": "assistant"}},
                "session_id": {"at": ["/id"], "take": "first"}, "input_tokens": {"at": ["/models/*/in"]},
                "cost_usd": {"at": ["/cost"]}, "error": {"at": ["/error/message"]}}"#,
        )
    }

    fn read(output: &Output, text: &str, piece: usize) -> Reading {
        let mut reader = Reader::new(output);
        text.as_bytes()
            .chunks(piece.max(1))
            .for_each(|bytes| reader.feed(bytes));
        reader.finish()
    }

    #[test]
    fn lines_are_read_as_their_definition_says_whatever_their_pieces() {
        let output = lines();
        let text = r#"Warning: a line for people
{"id": "s1", "role": "assistant", "content": "first"}
{"id": "s2", "role": "tool", "content": "not this"}
{"role": "assistant", "content": [{"text": "the "}, {"kind": "image"}, {"text": "last\u0000"}], "models": {"a": {"in": 3}, "b": {"in": 4}}, "cost": 0.25}
{"models": {"a": {"in": 5}}, "cost": 0.000001}
{"half of a li"#;
        for piece in [1, 7, 64, 10_000] {
            let found = read(&output, text, piece);
            assert_eq!(found.text.as_deref(), Some("the last␀"));
            assert_eq!(found.session_id.as_deref(), Some("s1"));
            assert_eq!(
                (found.input_tokens, found.cost_micro_usd),
                (Some(12), Some(250_001))
            );
            assert_eq!(
                (found.output_tokens, found.error, found.unreadable),
                (None, None, None)
            );
        }
    }

    #[test]
    fn one_document_is_found_among_words_and_as_a_list() {
        let output =
            output(r#"{"format": "json", "text": {"at": ["/result"]}, "cost_usd": {"at": ["/cost"]}}"#);
        let text = |said: &str| read(&output, said, 5).text;
        assert_eq!(text("{\n \"result\": \"yes\"\n}\n").as_deref(), Some("yes"));
        assert_eq!(
            text("warning: x [y]\n{\"result\": \"yes\"}\ntrailing").as_deref(),
            Some("yes")
        );
        assert_eq!(
            text(r#"[{"type": "init"}, {"result": "yes"}]"#).as_deref(),
            Some("yes")
        );
        for (said, why) in [
            ("", "printed nothing"),
            ("Error: not logged in", "something else"),
            ("{\"result\": \"ye", "something else"),
            (r#"{"type": "result"}"#, "without an answer"),
        ] {
            let found = read(&output, said, 5);
            assert!(found.unreadable.unwrap().contains(why), "{said}");
        }
        let dear = read(&output, r#"{"result": "x", "cost": -1}"#, 5);
        assert_eq!(dear.cost_micro_usd, None);
    }

    #[test]
    fn text_is_kept_as_it_is_and_a_line_without_end_costs_no_memory() {
        let output = Output::default();
        assert_eq!(
            read(&output, " two\nlines \n", 3).text.as_deref(),
            Some("two\nlines")
        );
        let lines = lines();
        let mut reader = Reader::new(&lines);
        for _ in 0..100 {
            reader.feed(&[b'x'; 1024 * 1024]);
        }
        assert!(reader.buffer.len() <= MAX_DOCUMENT);
        reader.feed(b"\n{\"role\": \"assistant\", \"content\": \"still here\"}\n");
        let found = reader.finish();
        assert_eq!(
            (found.text.as_deref(), found.unreadable),
            (Some("still here"), None)
        );
    }

    proptest! {
        #[test]
        fn nothing_an_agent_prints_can_break_the_reader(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            json in r#"(\{"(role|content|cost|models|error)": (1e400|-1|"[a-z\n]*"|\[\[\]|\{\}|null)\}?\n?){0,5}"#,
            piece in 1usize..50,
        ) {
            for format in [r#"{"format": "text"}"#, r#"{"format": "json", "text": {"at": [""]}}"#] {
                let output = output(format);
                let mut reader = Reader::new(&output);
                bytes.chunks(piece).for_each(|bytes| reader.feed(bytes));
                drop(reader.finish());
            }
            let lines = lines();
            let mut reader = Reader::new(&lines);
            reader.feed(&bytes);
            reader.feed(json.as_bytes());
            let found = reader.finish();
            prop_assert!(!found.text.unwrap_or_default().contains('\0'));
        }
    }
}
