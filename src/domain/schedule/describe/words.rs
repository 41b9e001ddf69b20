//! Counting and listing in English.

use crate::domain::schedule::members::Values;

/// Names, three or more in a row as a span.
pub(super) fn named(values: Values, name: impl Fn(u8) -> &'static str) -> Vec<String> {
    spans(values)
        .flat_map(|(from, to)| match to - from {
            0 => vec![name(from).to_owned()],
            1 => vec![name(from).to_owned(), name(to).to_owned()],
            _ => vec![format!("{} to {}", name(from), name(to))],
        })
        .collect()
}

/// `minute 5`, `minutes 0 to 10 and 30`.
pub(super) fn numbered(unit: &str, values: Values) -> String {
    let parts: Vec<String> = spans(values)
        .flat_map(|(from, to)| match to - from {
            0 => vec![from.to_string()],
            1 => vec![from.to_string(), to.to_string()],
            _ => vec![format!("{from} to {to}")],
        })
        .collect();
    let plural = if values.len() == 1 { "" } else { "s" };
    format!("{unit}{plural} {}", listed(&parts, "and"))
}

/// The runs of neighbouring values, first and last of each.
pub(super) fn spans(values: Values) -> impl Iterator<Item = (u8, u8)> {
    let starts = values
        .iter()
        .filter(move |value| *value == 0 || !values.has(u32::from(*value - 1)));
    starts.map(move |from| {
        let to = (from..64)
            .take_while(|value| values.has(u32::from(*value)))
            .last()
            .unwrap_or(from);
        (from, to)
    })
}

pub(super) fn listed(parts: &[String], conjunction: &str) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [front @ .., last] => format!("{} {conjunction} {last}", front.join(", ")),
    }
}

pub(super) fn counted(count: i64, unit: &str) -> String {
    if count == 1 {
        format!("1 {unit}")
    } else {
        format!("{count} {unit}s")
    }
}

pub(super) fn ordinal(number: u8) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

pub(super) fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
