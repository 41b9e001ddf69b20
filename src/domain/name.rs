//! The shapes of names users give: project aliases, queues, steps.

/// Longest project alias, queue or schedule name, in characters.
pub const MAX_NAME: usize = 128;

/// Whether `text` is `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, the shape of aliases, queues and schedules.
#[must_use]
pub fn is_name(text: &str) -> bool {
    has_shape(text, MAX_NAME, b"._-")
}

/// Whether `text` is `[0-9A-Za-z][0-9A-Za-z_-]{0,63}`, the shape of a step's id.
#[must_use]
pub fn is_step_id(text: &str) -> bool {
    has_shape(text, 64, b"_-")
}

/// Whether `text` can name an environment variable: `[A-Za-z_][A-Za-z0-9_]{0,254}`.
#[must_use]
pub fn is_environment_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 255
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `text` can name a tool of an agent, as `Read` or `Bash(git:*)`: it is never taken for an
/// option, nor for two tools.
#[must_use]
pub fn is_tool(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.:*/() ".contains(&byte))
}

fn has_shape(text: &str, longest: usize, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    text.len() <= longest
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_a_letter_or_digit_and_hold_no_path() {
        for good in ["a", "A.b-c_9", "0", &"x".repeat(128)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "é", "a\n", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn step_ids_hold_no_dot_so_they_can_name_a_directory() {
        assert!(is_step_id("build-1_x"));
        for bad in ["", "a.b", "_a", &"x".repeat(65)] {
            assert!(!is_step_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn tools_are_neither_options_nor_two() {
        for good in ["Read", "Bash(git diff:*)", "mcp__files__read"] {
            assert!(is_tool(good), "{good}");
        }
        for bad in ["", "-p", "Read,Write", "a\n", "--tools=x"] {
            assert!(!is_tool(bad), "{bad:?}");
        }
    }

    #[test]
    fn environment_names_hold_no_equals_sign() {
        assert!(is_environment_name("_PATH9"));
        for bad in ["", "9A", "A=B", "A-B", "A\0"] {
            assert!(!is_environment_name(bad), "{bad:?}");
        }
    }
}
