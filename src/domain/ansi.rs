//! Text without what only a terminal understands: colours, cursor movements, titles, control characters.

/// Where in an escape sequence we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [`: parameters up to a letter.
    Control,
    /// `ESC ]` and its like: anything up to a terminator.
    Words,
    /// The same, after what may be the terminator's first half.
    WordsEscape,
}

/// Leaves out escape sequences and control characters of a text that may come in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stripper {
    state: State,
}

impl Stripper {
    /// What can be read of the next piece: parts of it, in order.
    pub fn parts<'t>(&mut self, text: &'t str) -> Vec<&'t str> {
        self.follow(text).0
    }

    /// What can be read of a whole text, and where in it a sequence begins that is not complete.
    pub fn follow<'t>(&mut self, text: &'t str) -> (Vec<&'t str>, Option<usize>) {
        let (mut parts, mut from, mut begun) = (Vec::new(), None, None);
        for (at, c) in text.char_indices() {
            let before = self.state;
            let readable = self.step(c);
            if before == State::Text && self.state != State::Text {
                begun = Some(at);
            }
            match (readable, from) {
                (true, None) => from = Some(at),
                (false, Some(start)) => {
                    parts.push(&text[start..at]);
                    from = None;
                }
                _ => {}
            }
        }
        parts.extend(from.map(|start| &text[start..]));
        let open = (self.state != State::Text).then_some(begun.unwrap_or(0));
        (parts, open)
    }

    /// Takes one character; answers whether it can be read.
    fn step(&mut self, c: char) -> bool {
        self.state = match (self.state, c) {
            // A line's end ends whatever was not ended before it, or one stray byte would hide the rest.
            (_, '\n') => State::Text,
            (State::Words, '\u{1b}') => State::WordsEscape,
            (State::Words, '\u{7}' | '\u{9c}') | (State::WordsEscape, '\\') => {
                self.state = State::Text;
                return false;
            }
            (State::Words, _) => return false,
            (_, '\u{1b}') => State::Escape,
            (_, '\u{9b}') => State::Control,
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::Words,
            (State::Escape | State::WordsEscape, '[') => State::Control,
            (State::Escape | State::WordsEscape, ']' | 'P' | 'X' | '^' | '_') => State::Words,
            (State::Escape | State::WordsEscape, ' '..='/') => State::Escape,
            (State::Control, ' '..='?') => State::Control,
            (State::Escape | State::WordsEscape | State::Control, ' '..='~') => {
                self.state = State::Text;
                return false;
            }
            // Control characters do what they do also within a sequence.
            (state, '\u{0}'..='\u{1f}' | '\u{7f}') if state != State::Text => state,
            _ => State::Text,
        };
        self.state == State::Text && (matches!(c, '\n' | '\r' | '\t') || !c.is_control())
    }
}

/// A log as it reads that two streams write to, each with sequences of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both {
    stdout: Stripper,
    stderr: Stripper,
}

impl Both {
    /// The next piece, of `stderr` or of anybody else.
    pub fn read(&mut self, stream: &str, piece: &str) -> String {
        let stripper = match stream {
            "stderr" => &mut self.stderr,
            _ => &mut self.stdout,
        };
        stripper.parts(piece).concat()
    }
}

/// A whole text as it reads.
#[must_use]
pub fn strip(text: &str) -> String {
    Stripper::default().parts(text).concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_does_not_show_is_left_out() {
        for (raw, read) in [
            ("\x1b[1;31mred\x1b[0m and \x1b[Kplain", "red and plain"),
            (
                "\x1b]0;a title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
                "textlink",
            ),
            ("a\x08b\x07c\0d\x7fe", "abcde"),
            (
                "\u{9b}31mred, \u{9d}title\u{9c}tabs\tand\r\nlines",
                "red, tabs\tand\r\nlines",
            ),
            ("\x1b(Bset \x1b7saved \x1bMup", "set saved up"),
            ("never ended \x1b]0;title\nnext line", "never ended \nnext line"),
            ("grüße \x1b[3é", "grüße é"),
            ("ends \x1b[3", "ends "),
        ] {
            assert_eq!(strip(raw), read, "{raw:?}");
        }
        assert_eq!(Stripper::default().follow("ends \x1b[3").1, Some(5));
        assert_eq!(Stripper::default().follow("ends \x1b[3m").1, None);
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_change_the_text(raw in "(\\PC|\x1b|\\[|\\]|m|;|\x07|\n|\u{9b}){0,60}", cut in 0..200usize) {
            let (first, second) = raw.split_at(raw.floor_char_boundary(cut % (raw.len() + 1)));
            let mut stripper = Stripper::default();
            let mut text = stripper.parts(first).concat();
            text.push_str(&stripper.parts(second).concat());
            prop_assert_eq!(text, strip(&raw));
        }
    }
}
