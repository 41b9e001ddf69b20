//! What is refused, where, and what the author is told.

use orchestrator::domain::schedule::{Expression, Field, Reason};

fn refusal(line: &str) -> String {
    Expression::parse(line).expect_err(line).to_string()
}

#[test]
fn refusal_names_field_place_and_remedy() {
    assert_eq!(
        refusal("61 * * * *"),
        "minute field, character 1: 61 is out of range; allowed are 0 to 59"
    );
    assert_eq!(
        refusal("0 9 * FEV *"),
        "month field, character 7: `FEV` is not a month: write 1 to 12 or JAN to DEC"
    );
    assert_eq!(
        refusal("*/0 * * * *"),
        "minute field, character 3: a step of 0 never moves on; write at least 1"
    );
    assert_eq!(
        refusal("0 0 * * 1,,3"),
        "day-of-week field, character 11: a list has an empty entry; remove the extra comma"
    );
    assert_eq!(
        refusal("5/15 * * * *"),
        "minute field, character 1: a step needs a range before it: write `5-59/15` or `*/15`"
    );
    assert_eq!(
        refusal("0 22-2 * * *"),
        "hour field, character 3: the range 22-2 runs backwards; write two: `22-23,0-2`"
    );
    assert!(Expression::parse("0 22-23,0-2 * * *").is_ok());
    assert_eq!(
        refusal("0 0 * * SAT-MON"),
        "day-of-week field, character 9: the range SAT-MON runs backwards; write two: `SAT-6,0-MON`"
    );
    assert_eq!(
        refusal("0 0 W * *"),
        "day-of-month field, character 5: a value is missing here: it is a number, `*`, a range such as 1-5, or a step such as */5"
    );
}

#[test]
fn place_is_counted_in_characters_of_the_text_as_given() {
    let error = Expression::parse("\t 0\t 25 * * *").expect_err("no hour 25");
    assert_eq!((error.field, error.position), (Some(Field::Hour), 6));
    let error = Expression::parse("0 ä9 * * *").expect_err("no number");
    assert_eq!((error.field, error.position), (Some(Field::Hour), 3));
    let error = Expression::parse("0 0 1 ä,13 *").expect_err("no month");
    assert_eq!((error.field, error.position), (Some(Field::Month), 7));
    let error = Expression::parse("0 0 1-32 * *").expect_err("no day 32");
    assert_eq!((error.field, error.position), (Some(Field::DayOfMonth), 7));
}

#[test]
fn every_fault_is_refused() {
    let faults = [
        "60 * * * * *",
        "* 60 * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "*/61 * * * *",
        "*/60 * * * *",
        "* */24 * * *",
        "1- * * * *",
        "-5 * * * *",
        "1-2-3 * * * *",
        "*/ * * * *",
        "*/2/2 * * * *",
        "/5 * * * *",
        "*5 * * * *",
        "** * * * *",
        "1.5 * * * *",
        "+1 * * * *",
        "? * * * *",
        "L * * * *",
        "5L * * * *",
        "5#1 * * * *",
        "* * L-3 * *",
        "* * WL * *",
        "* * W * *",
        "* * 32W * *",
        "* * 1-5W * *",
        "* * 5#1 * *",
        "* * L,LW * *",
        "* * * L *",
        "* * * * L",
        "* * * * 5#0",
        "* * * * 5#6",
        "* * * * 5#",
        "* * * * #2",
        "* * * * 1-5#2",
        "* * * * 15W",
        "* * * * MONDAY",
        "* * * MARMON *",
        "MON * * * *",
        "* * * * +5",
        "99999999999999999999 * * * *",
        "*/99999999999999999999 * * * *",
        "٣ * * * *",
    ];
    for line in faults {
        assert!(Expression::parse(line).is_err(), "{line} was accepted");
    }
}

#[test]
fn list_is_bounded() {
    let list = vec!["1"; 65].join(",");
    let error = Expression::parse(&format!("{list} * * * *")).expect_err("65 entries");
    assert_eq!(error.reason, Reason::TooManyItems { found: 65, max: 64 });
    let all: Vec<String> = (0..60).map(|minute| minute.to_string()).collect();
    assert!(Expression::parse(&format!("{} * * * *", all.join(","))).is_ok());
}

fn reason(text: &str) -> Reason {
    Expression::parse(text).expect_err(text).reason
}

#[test]
fn date_that_never_comes_is_refused() {
    for line in [
        "30 2 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 30W 2 *",
        "0 0 31 2 ?",
        "0 0 30 2 */1",
    ] {
        let error = Expression::parse(line).expect_err(line);
        assert_eq!(
            (error.field, error.reason),
            (Some(Field::DayOfMonth), Reason::NeverComes),
            "{line}"
        );
    }
    for line in [
        "0 0 29 2 *",
        "0 0 30 2 MON",
        "0 0 29 2 */7",
        "0 0 31 */2 *",
        "0 0 * 2 0#5",
    ] {
        assert!(Expression::parse(line).is_ok(), "{line}");
    }
}

#[test]
fn text_that_is_too_long_is_not_read() {
    let list = vec!["1"; 10_000].join(",");
    assert_eq!(
        reason(&format!("{list} * * * *")),
        Reason::TooLong {
            length: 20_007,
            max: 1000
        }
    );
}

#[test]
fn number_of_fields_is_five_or_six() {
    assert_eq!(reason(" \t "), Reason::Empty);
    assert_eq!(reason("* * * *"), Reason::FieldCount { found: 4 });
    assert_eq!(reason("0 0 0 1 1 * 2026"), Reason::FieldCount { found: 7 });
    assert_eq!(
        Expression::parse("0 0 0 1 1 * 2026")
            .expect_err("a year")
            .position,
        13
    );
    assert_eq!(reason("@daily 5"), Reason::FieldCount { found: 2 });
    assert_eq!(reason("@reboot"), Reason::UnknownMacro("@reboot".to_owned()));
}
