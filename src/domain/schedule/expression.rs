//! When a schedule runs, as its author writes it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Word};
use super::describe;
use super::error::{ExpressionError, Fault, Reason, excerpt};
use super::field::Field;
use super::interval::Interval;
use super::runs::{Backwards, Forwards};
use super::zone::Zone;

/// The longest text that is read, in bytes.
pub const LONGEST_EXPRESSION: usize = 1000;

/// A cron line, a name such as `@daily`, or an interval such as `every 15m`.
///
/// Two expressions are equal when their normalised texts are; [`fmt::Display`] gives that text,
/// which is what is stored: single spaces, names in capitals, intervals in their largest units.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    when: When,
}

#[derive(Debug, Clone)]
enum When {
    Calendar(Box<Calendar>),
    Every(Interval),
}

const NAMED: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// [`ExpressionError`] with the field, the place and the remedy; also for a date that never
    /// comes, such as 30 February.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        read(text).map_err(|fault| fault.locate(text))
    }

    /// One English sentence; the time zone is the reader's to add.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.when {
            When::Calendar(calendar) => describe::calendar(calendar),
            When::Every(interval) => describe::interval(*interval),
        }
    }

    /// The instants strictly after `from`, rising, each once; ends with the year 2999.
    ///
    /// `anchor` is where intervals are counted from, the schedule's creation; a cron line does not
    /// depend on it. The module's table says what a change of clocks does.
    pub fn after(
        &self,
        zone: Zone,
        from: DateTime<Utc>,
        anchor: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        match &self.when {
            When::Calendar(calendar) => Instants::Forwards(Forwards::new(calendar, zone, from)),
            When::Every(interval) => Instants::Following(*interval, anchor, from),
        }
    }

    /// The instants strictly before `from`, falling: those of [`Self::after`] read from the end.
    ///
    /// Ends with the year 1900; an interval ends with the first instant after its anchor.
    pub fn before(
        &self,
        zone: Zone,
        from: DateTime<Utc>,
        anchor: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        match &self.when {
            When::Calendar(calendar) => Instants::Backwards(Backwards::new(calendar, zone, from)),
            When::Every(interval) => Instants::Preceding(*interval, anchor, from),
        }
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn read(text: &str) -> Result<Expression, Fault> {
    if text.len() > LONGEST_EXPRESSION {
        let reason = Reason::TooLong {
            length: text.chars().count(),
            max: LONGEST_EXPRESSION,
        };
        return Err(Fault::whole(LONGEST_EXPRESSION, reason));
    }
    let words = words(text);
    match words.as_slice() {
        [] => Err(Fault::whole(0, Reason::Empty)),
        [(_, first), rest @ ..] if is_every(first) => read_interval(text, rest),
        [(at, name), rest @ ..] if name.starts_with('@') => read_named(*at, name, rest),
        fields => read_calendar(fields),
    }
}

/// The words of the text; tabs and repeated spaces part them like one space.
fn words(text: &str) -> Vec<Word<'_>> {
    let start = |word: &str| word.as_ptr().addr() - text.as_ptr().addr();
    text.split_whitespace().map(|word| (start(word), word)).collect()
}

fn is_every(word: &str) -> bool {
    word.eq_ignore_ascii_case("every") || word.eq_ignore_ascii_case("@every")
}

fn read_interval(text: &str, words: &[Word<'_>]) -> Result<Expression, Fault> {
    let (at, length) = match words {
        [word] => *word,
        [] => return Err(Fault::whole(text.len(), Reason::Interval)),
        [_, (at, _), ..] => return Err(Fault::whole(*at, Reason::Interval)),
    };
    let interval = Interval::parse(length, at)?;
    Ok(Expression {
        text: format!("every {interval}"),
        when: When::Every(interval),
    })
}

fn read_named(at: usize, name: &str, rest: &[Word<'_>]) -> Result<Expression, Fault> {
    let Some((name, line)) = NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        return Err(Fault::whole(at, Reason::UnknownMacro(excerpt(name))));
    };
    if let [(at, _), ..] = rest {
        return Err(Fault::whole(
            *at,
            Reason::FieldCount {
                found: 1 + rest.len(),
            },
        ));
    }
    let calendar = Calendar::parse(&words(line))?;
    Ok(Expression {
        text: (*name).to_owned(),
        when: When::Calendar(Box::new(calendar)),
    })
}

fn read_calendar(fields: &[Word<'_>]) -> Result<Expression, Fault> {
    let calendar = Calendar::parse(fields)?;
    if !calendar.ever_comes() {
        let at = fields[fields.len() - 3].0;
        return Err(Fault::in_field(Field::DayOfMonth, at, Reason::NeverComes));
    }
    let text = fields
        .iter()
        .map(|(_, field)| field.to_ascii_uppercase())
        .collect::<Vec<_>>()
        .join(" ");
    Ok(Expression {
        text,
        when: When::Calendar(Box::new(calendar)),
    })
}

/// The instants of one kind of expression in one direction.
enum Instants<'a> {
    Forwards(Forwards<'a>),
    Backwards(Backwards<'a>),
    Following(Interval, DateTime<Utc>, DateTime<Utc>),
    Preceding(Interval, DateTime<Utc>, DateTime<Utc>),
}

impl Iterator for Instants<'_> {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Forwards(runs) => runs.next(),
            Self::Backwards(runs) => runs.next(),
            Self::Following(interval, anchor, from) => {
                *from = interval.following(*from, *anchor)?;
                Some(*from)
            }
            Self::Preceding(interval, anchor, from) => {
                *from = interval.preceding(*from, *anchor)?;
                Some(*from)
            }
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Expression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_normalised() {
        let text = |given| Expression::parse(given).expect(given).to_string();
        assert_eq!(text("  0\t 9  * jan  mon-Fri "), "0 9 * JAN MON-FRI");
        assert_eq!(text("@Midnight"), "@midnight");
        assert_eq!(text("EVERY  90m"), "every 1h30m");
        assert_eq!(text("@every 15m"), "every 15m");
    }

    #[test]
    fn expression_is_stored_as_its_text() {
        let expression: Expression = serde_json::from_str("\"0  9 * * mon\"").expect("an expression");
        assert_eq!(
            serde_json::to_string(&expression).expect("JSON"),
            "\"0 9 * * MON\""
        );
        let error = serde_json::from_str::<Expression>("\"61 * * * *\"").expect_err("61 minutes");
        assert!(error.to_string().contains("minute field, character 1"), "{error}");
    }

    #[test]
    fn search_ends_with_the_calendar() {
        let late = DateTime::from_timestamp(32_503_679_000, 0).expect("the last hour of 2999");
        for text in ["* * * * *", "0 0 29 2 *", "every 15m"] {
            let expression = Expression::parse(text).expect(text);
            assert!(expression.after(Zone::UTC, late, late).count() <= 17, "{text}");
            assert_eq!(
                expression.after(Zone::UTC, DateTime::<Utc>::MAX_UTC, late).next(),
                None,
                "{text}"
            );
            assert!(
                expression
                    .before(Zone::UTC, DateTime::<Utc>::MIN_UTC, late)
                    .next()
                    .is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn rarest_date_is_found_over_the_year_2100() {
        // A leap day on a Sunday, which the missing leap day of 2100 puts off for forty years.
        let from = DateTime::from_timestamp(3_850_000_000, 0).expect("early 2092");
        let expression = Expression::parse("0 0 29 2 */7").expect("a line");
        let found = expression.after(Zone::UTC, from, from).next().expect("a run");
        assert_eq!(found.to_rfc3339(), "2128-02-29T00:00:00+00:00");
    }
}
