//! Why an expression was refused: the field, the place in the text, and what to write instead.

use std::fmt;

use super::field::Field;

/// A schedule expression that was refused.
///
/// The message names the field, the place and the remedy, and is fit to be shown to the person
/// who wrote the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// The field that is wrong; `None` when the expression is wrong as a whole.
    pub field: Option<Field>,
    /// The character the fault begins at, counted from 1 in the text as it was given.
    pub position: usize,
    /// What is wrong there.
    pub reason: Reason,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field} field, ")?;
        }
        write!(f, "character {}: {}", self.position, self.reason)
    }
}

impl std::error::Error for ExpressionError {}

/// What is wrong with an expression, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing but white space.
    #[error("the expression is empty; write five cron fields such as `0 9 * * MON-FRI`, or `every 15m`")]
    Empty,
    /// More text than any real expression needs.
    #[error("the expression is {length} characters long; at most {max} are read")]
    TooLong {
        /// The length given, in characters.
        length: usize,
        /// The longest that is read, in characters.
        max: usize,
    },
    /// Neither five fields nor six.
    #[error(
        "found {found} fields; write five (minute hour day-of-month month day-of-week), or six with \
         seconds first"
    )]
    FieldCount {
        /// How many there were.
        found: usize,
    },
    /// `@` and a word that names no schedule.
    #[error(
        "unknown name `{0}`; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"
    )]
    UnknownMacro(String),
    /// A comma with nothing before or after it.
    #[error("a list has an empty entry; remove the extra comma")]
    EmptyItem,
    /// A list longer than its field has values.
    #[error("the list has {found} entries; at most {max} are allowed")]
    TooManyItems {
        /// How many there were.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Neither a number nor a name of the field.
    #[error("`{text}` is not {expected}")]
    Unknown {
        /// What stands there.
        text: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// `1-`, `W`: half of something.
    #[error("a value is missing here: it is {expected}")]
    Missing {
        /// What is to stand there.
        expected: &'static str,
    },
    /// A number the field does not have.
    #[error("{value} is out of range; allowed are {min} to {max}")]
    OutOfRange {
        /// The number as written.
        value: String,
        /// The smallest allowed.
        min: u8,
        /// The largest allowed.
        max: u8,
    },
    /// A range whose end comes before its start.
    #[error("the range {from}-{to} runs backwards; write two: `{from}-{max},{min}-{to}`")]
    Backwards {
        /// The start as written.
        from: String,
        /// The end as written.
        to: String,
        /// The smallest value of the field.
        min: u8,
        /// The largest value of the field.
        max: u8,
    },
    /// `/0`.
    #[error("a step of 0 never moves on; write at least 1")]
    ZeroStep,
    /// A step that leaves the field at once.
    #[error(
        "a step of {step} leaves the field at once; at most {max} is allowed (an interval of any length is \
         written `every 90m`)"
    )]
    StepTooLarge {
        /// The step as written.
        step: String,
        /// The largest allowed.
        max: u8,
    },
    /// `5/15`, which cron implementations disagree about.
    #[error("a step needs a range before it: write `{value}-{max}/{step}` or `*/{step}`")]
    StepOnValue {
        /// What stands before the slash.
        value: String,
        /// What stands after it.
        step: String,
        /// The largest value of the field.
        max: u8,
    },
    /// `L`, `W` or `#` where it has no meaning.
    #[error("{0}")]
    Modifier(&'static str),
    /// A date that no calendar has.
    #[error("the date never comes: no year has such a day")]
    NeverComes,
    /// An interval that is not a number and a unit.
    #[error(
        "write an interval as numbers with a unit, largest first: `every 15m`, `every 1h30m`, `every 2d`"
    )]
    Interval,
    /// An interval too short or too long to be kept.
    #[error("an interval is at least 1 second and at most 366 days")]
    IntervalLength,
    /// The cron engine refused what the checks above let through.
    #[error("the cron engine refuses it: {0}")]
    Engine(String),
}

/// A fault at a byte of the text, before that is turned into a character for the reader.
pub(super) struct Fault {
    pub(super) field: Option<Field>,
    pub(super) at: usize,
    pub(super) reason: Reason,
}

impl Fault {
    pub(super) fn in_field(field: Field, at: usize, reason: Reason) -> Self {
        Self {
            field: Some(field),
            at,
            reason,
        }
    }

    pub(super) fn whole(at: usize, reason: Reason) -> Self {
        Self {
            field: None,
            at,
            reason,
        }
    }

    /// The error as the author of `text` should read it.
    pub(super) fn locate(self, text: &str) -> ExpressionError {
        let position = 1 + text
            .char_indices()
            .take_while(|(byte, _)| *byte < self.at)
            .count();
        ExpressionError {
            field: self.field,
            position,
            reason: self.reason,
        }
    }
}

/// What the author wrote, cut so that an error stays one line.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 24;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
