use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;

use super::shapes::SHAPES;
use super::*;

const NAMED: &str = "correct horse battery";

fn secrets() -> Secrets {
    Secrets::of([NAMED, "hunter2!", "short", "line one\nline two"])
}

/// A text as it comes out when it comes in these pieces.
fn in_pieces(secrets: &Secrets, pieces: &[&str]) -> String {
    let mut redactor = Redactor::new(secrets);
    let mut text: String = pieces
        .iter()
        .map(|piece| redactor.pass(Stream::Stdout, piece))
        .collect();
    text.push_str(&redactor.finish()[0].1);
    text
}

fn cut<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut edges: Vec<usize> = cuts
        .iter()
        .map(|cut| text.floor_char_boundary(cut % (text.len() + 1)))
        .collect();
    edges.extend([0, text.len()]);
    edges.sort_unstable();
    edges.windows(2).map(|edge| &text[edge[0]..edge[1]]).collect()
}

/// An example of a shape.
fn example(shape: &str, runner: &mut TestRunner) -> String {
    let shape = shape.replace(r"\b", "").replace(",}", ",260}");
    string_regex(&shape).unwrap().new_tree(runner).unwrap().current()
}

#[test]
fn a_key_of_every_shape_is_taken_out_and_its_neighbours_are_not() {
    let mut runner = TestRunner::deterministic();
    for shape in SHAPES {
        for _ in 0..5 {
            let key = example(shape, &mut runner);
            let (text, count) = secrets().redact(&format!("export KEY=\"{key}\" # the key"));
            assert_eq!(
                (text.as_str(), count),
                ("export KEY=\"[REDACTED]\" # the key", 1),
                "{key}"
            );
        }
    }
}

#[test]
fn a_key_printed_in_two_halves_is_taken_out_wherever_it_is_cut() {
    let mut runner = TestRunner::deterministic();
    for shape in SHAPES {
        let text = format!("a {} b\n", example(shape, &mut runner));
        for at in 1..text.len() {
            assert_eq!(
                in_pieces(&secrets(), &cut(&text, &[at])),
                "a [REDACTED] b\n",
                "{text}"
            );
        }
    }
}

proptest! {
    #[test]
    fn where_output_is_cut_does_not_change_what_is_taken_out(
        before in "[ -~]{0,30}",
        shape in 0..SHAPES.len(),
        between in "[ \n]\\PC{0,20}[ \n]",
        cuts in prop::collection::vec(0..2000usize, 0..12),
    ) {
        let key = example(SHAPES[shape], &mut TestRunner::deterministic());
        let text = format!("{before} {key}{between}{NAMED} hunter2!\n{key}");
        let secrets = secrets();
        let whole = secrets.redact(&text).0;
        prop_assert!(!whole.contains(&key) && !whole.contains(NAMED) && !whole.contains("hunter2!"));
        prop_assert_eq!(in_pieces(&secrets, &cut(&text, &cuts)), whole);
    }

    #[test]
    fn text_without_secrets_comes_out_as_it_was(text in "(\\PC|\n|\x1b\\[[0-9;]{0,4}m){0,80}", cuts in prop::collection::vec(0..300usize, 0..8)) {
        let secrets = Secrets::of(["a value that is in no such text, or hardly"]);
        prop_assert_eq!(in_pieces(&secrets, &cut(&text, &cuts)), text);
    }
}

#[test]
fn ordinary_words_stay() {
    let prose = [
        include_str!("../../../README.md"),
        include_str!("../../../ARCHITECTURE.md"),
        include_str!("../../../CHANGELOG.md"),
        include_str!("../../../Cargo.lock"),
        include_str!("../../domain/spec.rs"),
    ]
    .concat();
    assert_eq!(secrets().redact(&prose), (prose, 0));
    let words = "password: token=secret api_key bearer sk-learn task-force risk-averse AKIA ghp_ glpat- hf_hub npm_config_registry
        da39a3ee5e6b4b0d3255bfef95601890afd80709 01934f5a-7e1c-7c3a-9b1e-5f8d2a6c4e10 sha512-QUtJQQ== short
        https://hooks.slack.com/ eyJhbGciOiJIUzI1NiJ9 xox SG.SG sk_test_ disk_prod_backup AAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(secrets().redact(words), (words.to_owned(), 0));
}

#[test]
fn a_named_value_goes_whatever_it_holds_and_however_it_is_written() {
    let secrets = secrets();
    assert_eq!(secrets.redact("x correct horse battery y").0, "x [REDACTED] y");
    assert_eq!(
        secrets.redact(r#"{"v": "line one\nline two"}"#).0,
        r#"{"v": "[REDACTED]"}"#
    );
    let encoded = BASE64_STANDARD.encode(NAMED);
    assert!(!secrets.redact(&encoded).0.contains(&encoded[..20]));
    assert_eq!(
        in_pieces(&secrets, &["line one", "\n", "line ", "two", "!\n"]),
        "[REDACTED]!\n"
    );
    // Begun, and not gone on with.
    assert_eq!(
        in_pieces(&secrets, &["correct horse ", "of another colour"]),
        "correct horse of another colour"
    );
    assert_eq!(secrets.redact("short").0, "short");
    assert_eq!(
        secrets.and(["another value"]).redact("another value, hunter2!").0,
        "[REDACTED], [REDACTED]"
    );
    assert!(secrets.names(b"+ hunter2!") && !secrets.names(b"hunter"));
    assert!(!format!("{secrets:?}").contains("hunter2"));
}

#[test]
fn colours_do_not_hide_a_key_and_stay() {
    let key = format!("AKIA{}", "ABCDEFGH23456777");
    let coloured = format!("\x1b[1;31m\x1b[KAKIA\x1b[m\x1b[K{} is it\n", &key[4..]);
    let expected = "\x1b[1;31m\x1b[K[REDACTED]\x1b[m\x1b[K is it\n";
    assert_eq!(secrets().redact(&coloured).0, expected);
    for at in 0..coloured.len() {
        assert_eq!(
            in_pieces(&secrets(), &cut(&coloured, &[at])),
            expected,
            "cut at {at}"
        );
    }
    assert_eq!(
        secrets()
            .redact("hun\x08\x1b]0;title\x07ter2! x")
            .0
            .replace(['\x08', '\x07'], ""),
        "[REDACTED]\x1b]0;title x"
    );
}

fn armoured(newline: &str) -> String {
    let body = [
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
        "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu",
        "Zg==",
    ];
    format!(
        "-----BEGIN RSA PRIVATE KEY-----{newline}{}{newline}-----END RSA PRIVATE KEY-----",
        body.join(newline)
    )
}

#[test]
fn a_key_is_found_behind_beginnings_that_are_none() {
    let head = armoured("\n").lines().next().unwrap().to_owned();
    let text = format!("{head}\n{head}\nAAAA\n{}\ndone\n", armoured("\n"));
    let (redacted, count) = Secrets::default().redact(&text);
    assert_eq!(count, 1, "{redacted}");
    assert!(
        redacted.ends_with("\ndone\n") && !redacted.contains("END"),
        "{redacted}"
    );
}

#[test]
fn a_private_key_goes_from_its_first_line_to_its_last() {
    for newline in ["\n", "\r\n", "\\n"] {
        let text = format!("cat key\n{}\ndone\n", armoured(newline));
        let expected = "cat key\n[REDACTED]\ndone\n";
        assert_eq!(secrets().redact(&text), (expected.to_owned(), 1));
        for at in 1..text.len() {
            assert_eq!(in_pieces(&secrets(), &cut(&text, &[at])), expected, "cut at {at}");
        }
    }
    let all = armoured("\n");
    let cut_off = &all[..all.len() - 40];
    assert_eq!(in_pieces(&secrets(), &["key: ", cut_off]), "key: [REDACTED]");
}

#[test]
fn words_about_private_keys_stay() {
    for text in [
        "look for -----BEGIN PRIVATE KEY----- in the file; it is the first line\n",
        "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END CERTIFICATE-----\n",
        "-----BEGIN RSA PRIVATE KEY----- is missing\n",
    ] {
        assert_eq!(secrets().redact(text), (text.to_owned(), 0));
        assert_eq!(in_pieces(&secrets(), &cut(text, &[3, 20, 40])), text);
    }
}

#[test]
fn what_is_held_is_bounded_and_nothing_is_lost() {
    let secrets = secrets();
    let mut redactor = Redactor::new(&secrets);
    let (line, mut out) = ("x".repeat(1000), String::new());
    for _ in 0..200 {
        out.push_str(&redactor.pass(Stream::Stdout, &line));
        assert!(redactor.stdout.text.len() <= MOST_HELD);
    }
    out.push_str(&redactor.finish()[0].1);
    assert_eq!(out.len(), 200_000);
    // A key longer than what is held goes as a whole all the same.
    let long = format!(
        "eyJ{}.eyJ{}.{}",
        "a".repeat(20),
        "b".repeat(20),
        "c".repeat(100_000)
    );
    let pieces: Vec<String> = format!("a {long} b\n")
        .as_bytes()
        .chunks(997)
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    assert_eq!(in_pieces(&secrets, &pieces), "a [REDACTED] b\n");
    // What nobody waits for goes on at once.
    assert_eq!(
        Redactor::new(&secrets).pass(Stream::Stdout, "Continue? "),
        "Continue? "
    );
    assert_eq!(
        Redactor::new(&secrets).pass(Stream::Stdout, "compiling ....."),
        "compiling ....."
    );
}

#[test]
fn streams_do_not_mix() {
    let secrets = secrets();
    let mut redactor = Redactor::new(&secrets);
    assert_eq!(redactor.pass(Stream::Stdout, "hunt"), "");
    assert_eq!(redactor.pass(Stream::Stderr, "er2! fine\n"), "er2! fine\n");
    assert_eq!(redactor.pass(Stream::Stdout, "er2!\n"), "[REDACTED]\n");
    assert_eq!(redactor.count(), 1);
}

#[test]
fn what_a_terminal_does_not_show_is_looked_at_too() {
    let secrets = secrets();
    let key = format!("AKIA{}", "IOSFODNN7REALKEY");
    for secret in ["hunter2!", NAMED, &key] {
        for (before, after) in [
            (
                "see \x1b]8;;https://user:",
                "@host/\x1b\\here\x1b]8;;\x1b\\ and on\n",
            ),
            ("\x1b]0;", "\x07title\n"),
            ("\x1b[31mred \x1bP", "\x1b\\ again\n"),
            ("\u{9d}0;", "\u{9c}title\n"),
            ("\x1b]8;;\u{9d}£", "\u{9c}\x1b\\title\n"),
            ("stray \x1bP and so ", " without an end\n"),
        ] {
            let text = format!("{before}{secret}{after}");
            let whole = format!("{before}[REDACTED]{after}");
            assert_eq!(secrets.redact(&text), (whole.clone(), 1), "{text:?}");
            for at in 0..text.len() {
                assert_eq!(in_pieces(&secrets, &cut(&text, &[at])), whole, "{text:?} at {at}");
            }
        }
    }
    let harmless = "\x1b]8;;https://host/a\x1b\\here\x1b]8;;\x1b\\ \x1b[31mred\x1b[0m\n";
    assert_eq!(secrets.redact(harmless), (harmless.to_owned(), 0));
}
