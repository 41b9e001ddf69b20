//! Private keys between their lines of `BEGIN` and `END`, also on one line with `\n` written out.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

const BEGIN: &str = "-----BEGIN";
/// Most bytes of a key; the largest RSA key in use has 13,000.
const LONGEST: usize = 24 * 1024;
/// Characters in a row without which there is no key, only its first line.
const MATERIAL: usize = 40;

#[expect(
    clippy::expect_used,
    reason = "the expressions are constants, and a test uses them"
)]
static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----").expect("a constant expression")
});
#[expect(clippy::expect_used, reason = "as above")]
static FOOT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("-----END[ A-Z0-9_-]{0,100}KEY(?: BLOCK)?-----").expect("a constant expression")
});

/// Where private keys are; of one that is cut off, what there is of it.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if !text.contains(BEGIN) {
        return found;
    }
    let mut from = 0;
    while let Some(head) = HEAD.find_at(text, from) {
        from = head.end();
        let body = &text[head.end()..];
        let body = &body[..body.floor_char_boundary(LONGEST)];
        // Up to the next, or many beginnings in a row would each be looked at to the end of the longest key.
        let body = &body[..body.find(BEGIN).unwrap_or(body.len())];
        let inside = body.find(|c| !is_body(c)).unwrap_or(body.len());
        let end = match FOOT.find(&body[..inside]) {
            Some(foot) => foot.end(),
            None if has_material(&body[..inside]) => inside,
            None => continue,
        };
        found.push(head.start()..head.end() + end);
        from = head.end() + end;
    }
    found
}

/// Where a key begins whose end has not come yet.
pub(super) fn open(text: &str) -> Option<usize> {
    let start = text.rfind(BEGIN)?;
    let after = &text[start + BEGIN.len()..];
    let waits = match after.find("-----") {
        None => {
            after.len() <= 120
                && after
                    .bytes()
                    .all(|byte| matches!(byte, b' ' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-'))
        }
        Some(_) => HEAD.find(&text[start..]).is_some_and(|head| {
            let body = &text[start + head.end()..];
            head.start() == 0 && body.len() < LONGEST && !FOOT.is_match(body) && body.chars().all(is_body)
        }),
    };
    waits.then_some(start)
}

/// What may stand between the two lines: base64, and the headers of older forms.
fn is_body(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "+/=-:,._()\\\"'".contains(c)
}

fn has_material(body: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    body.split(|c| !is_base64(c)).any(|run| run.len() >= MATERIAL)
}
