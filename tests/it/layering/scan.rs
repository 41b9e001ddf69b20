//! What a source file names: its paths, written out in full, and the methods it calls.
//!
//! It reads tokens, not text, so comments and strings say nothing and what stands inside a macro
//! call counts. `use` groups, `self`, `super` and names bound by `use` are written out;
//! items under `#[cfg(test)]` are left out. Scopes are not: a name that is bound anywhere in a file
//! is taken to mean that everywhere in it.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::BTreeMap;

/// What one file names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Paths of two segments or more; those of this crate begin with `crate`.
    pub(super) paths: Vec<(String, usize)>,
    /// Methods that are called, those without arguments with their parentheses: `begin()`.
    pub(super) methods: Vec<(String, usize)>,
    /// Modules declared as `#[cfg(test)] mod name;`, whose files are tests too.
    pub(super) test_modules: Vec<String>,
}

/// Reads `source`, the file of the module at `module` (`["store", "job"]` for `store/job.rs`).
pub(super) fn names(source: &str, module: &[&str]) -> Result<Names, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let mut reader = Reader::default();
    let mut place: Vec<String> = module.iter().map(ToString::to_string).collect();
    reader.stream(tokens, &mut place);
    Ok(reader.finish())
}

#[derive(Debug)]
struct Path {
    segments: Vec<String>,
    line: usize,
}

#[derive(Default)]
struct Reader {
    paths: Vec<Path>,
    bound: BTreeMap<String, Vec<Vec<String>>>,
    names: Names,
}

impl Reader {
    fn stream(&mut self, tokens: TokenStream, place: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.one(&tokens, at, place);
        }
    }

    /// Reads what begins at `at` and answers where the next thing begins.
    fn one(&mut self, tokens: &[TokenTree], at: usize, place: &mut Vec<String>) -> usize {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(tokens.get(at + 1)) => {
                self.skip_item(tokens, at)
            }
            TokenTree::Punct(punct) if punct.as_char() == '.' => self.method(tokens, at),
            TokenTree::Ident(ident) if ident == "use" && !is_punct(tokens.get(at + 1), '<') => {
                let end = (at..tokens.len())
                    .find(|i| is_punct(tokens.get(*i), ';'))
                    .unwrap_or(tokens.len());
                self.tree(&tokens[at + 1..end], &[], place);
                end + 1
            }
            TokenTree::Ident(ident) if ident == "mod" => match (tokens.get(at + 1), tokens.get(at + 2)) {
                (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) => {
                    place.push(name.to_string());
                    self.stream(body.stream(), place);
                    place.pop();
                    at + 3
                }
                _ => at + 1,
            },
            TokenTree::Ident(_) => self.path(tokens, at, place),
            TokenTree::Group(group) => {
                self.stream(group.stream(), place);
                at + 1
            }
            _ => at + 1,
        }
    }

    fn method(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(group))) =
            (tokens.get(at + 1), tokens.get(at + 2))
            && group.delimiter() == Delimiter::Parenthesis
        {
            let parentheses = if group.stream().is_empty() { "()" } else { "" };
            let called = format!("{name}{parentheses}");
            self.names.methods.push((called, line(&tokens[at + 1])));
        }
        // The name after a dot is no path, whatever is bound to it; `0..x` has two dots.
        let name_follows = matches!(tokens.get(at + 1), Some(TokenTree::Ident(_)));
        let range = at > 0 && is_punct(tokens.get(at - 1), '.');
        if name_follows && !range { at + 2 } else { at + 1 }
    }

    fn path(&mut self, tokens: &[TokenTree], mut at: usize, place: &[String]) -> usize {
        let start = line(&tokens[at]);
        let mut segments = vec![tokens[at].to_string()];
        at += 1;
        while is_separator(tokens, at) {
            let Some(TokenTree::Ident(ident)) = tokens.get(at + 2) else {
                break;
            };
            segments.push(ident.to_string());
            at += 3;
        }
        if segments.len() > 1 {
            let segments = absolute(segments, place);
            self.paths.push(Path {
                segments,
                line: start,
            });
        }
        at
    }

    /// Reads the tree of a `use`, one branch after the other, and binds its names.
    fn tree(&mut self, tokens: &[TokenTree], prefix: &[String], place: &[String]) {
        for branch in tokens.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
            let Some(first) = branch.first() else { continue };
            let mut segments = prefix.to_vec();
            let mut alias = None;
            let mut group: Option<&Group> = None;
            let mut rest = branch.iter();
            while let Some(token) = rest.next() {
                match token {
                    TokenTree::Ident(ident) if ident == "as" => alias = rest.next().map(ToString::to_string),
                    TokenTree::Ident(ident) if ident == "self" && !segments.is_empty() => {}
                    TokenTree::Ident(ident) => segments.push(ident.to_string()),
                    TokenTree::Punct(punct) if punct.as_char() == '*' => segments.push("*".to_owned()),
                    TokenTree::Group(inner) => group = Some(inner),
                    _ => {}
                }
            }
            if let Some(group) = group {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                self.tree(&inner, &segments, place);
                continue;
            }
            let segments = absolute(segments, place);
            if let Some(name) = alias.or_else(|| segments.last().cloned()) {
                self.bound.entry(name).or_default().push(segments.clone());
            }
            self.paths.push(Path {
                segments,
                line: line(first),
            });
        }
    }

    /// Skips the item whose first attribute stands at `at`.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        while is_punct(tokens.get(at), '#') {
            at += 2;
        }
        let start = at;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => break,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                _ => {}
            }
        }
        if let [
            ..,
            TokenTree::Ident(keyword),
            TokenTree::Ident(name),
            TokenTree::Punct(_),
        ] = &tokens[start..at]
            && keyword == "mod"
        {
            self.names.test_modules.push(name.to_string());
        }
        at
    }

    fn finish(mut self) -> Names {
        for Path { segments, line } in self.paths {
            for full in written_out(segments, &self.bound, 4) {
                if full.len() > 1 {
                    self.names.paths.push((full.join("::"), line));
                }
            }
        }
        self.names
    }
}

/// A path in all the meanings its first name may have in this file.
fn written_out(
    segments: Vec<String>,
    bound: &BTreeMap<String, Vec<Vec<String>>>,
    depth: u8,
) -> Vec<Vec<String>> {
    match bound.get(&segments[0]) {
        Some(meanings) if depth > 0 && segments[0] != "crate" => meanings
            .iter()
            .flat_map(|meaning| {
                let full = [meaning.as_slice(), &segments[1..]].concat();
                // `use sqlx;` binds a name to itself.
                let depth = if meaning[0] == segments[0] { 0 } else { depth - 1 };
                written_out(full, bound, depth)
            })
            .collect(),
        _ => vec![segments],
    }
}

/// Begins a path with `crate` that began with `self` or `super`.
fn absolute(segments: Vec<String>, place: &[String]) -> Vec<String> {
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    let own = usize::from(segments[0] == "self");
    if ups + own == 0 {
        return segments;
    }
    let base = place.len().saturating_sub(ups);
    let mut full = vec!["crate".to_owned()];
    full.extend_from_slice(&place[..base]);
    full.extend_from_slice(&segments[ups + own..]);
    full
}

fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if {
        let text = group.stream().to_string().replace(' ', "");
        text == "cfg(test)" || text.starts_with("cfg(all(test,")
    })
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
