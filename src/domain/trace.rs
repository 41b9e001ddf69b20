//! Traces of others: the header `traceparent` of W3C Trace Context, which a job carries from the
//! request that made it to its steps and its callback.

use std::fmt;
use std::str::FromStr;

use super::id::JobId;

/// Where in a trace something is done: the trace, and the span that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    pub trace: u128,
    /// The span that caused it; never zero.
    pub span: u64,
    /// Whether it is recorded, and what else its maker says.
    pub flags: u8,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no traceparent, as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01")]
pub struct NoTraceParent;

impl TraceParent {
    /// The header's name.
    pub const HEADER: &str = "traceparent";
    /// The name it has among a program's environment variables.
    pub const VARIABLE: &str = "TRACEPARENT";

    /// The trace of a job that came without one, as a schedule's does: it is named like the job, so that
    /// everybody who works on it finds the same.
    #[must_use]
    pub fn of_job(job: JobId) -> Self {
        let (trace, (_, span)) = (job.0.as_u128(), job.0.as_u64_pair());
        Self {
            trace,
            span,
            flags: 1,
        }
    }

    /// The trace alone, as logs and trace viewers write it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Reads version 00, and of a later version the part that it must have in common with 00.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let mut parts = text.split('-');
        let mut part = |length| {
            parts
                .next()
                .filter(|part| is_hex(part, length))
                .ok_or(NoTraceParent)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_whole = version != "00" || parts.next().is_none();
        let read = Self {
            trace: u128::from_str_radix(trace, 16).unwrap_or_default(),
            span: u64::from_str_radix(span, 16).unwrap_or_default(),
            flags: u8::from_str_radix(flags, 16).unwrap_or_default(),
        };
        match version != "ff" && is_whole && read.trace != 0 && read.span != 0 {
            true => Ok(read),
            false => Err(NoTraceParent),
        }
    }
}

/// Capitals are not allowed: two spellings of one trace would be two.
fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01";

    #[test]
    fn it_is_written_as_it_was_read() {
        for text in [GOOD, &GOOD.replace("-01", "-00")] {
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("{}-and-more", GOOD.replacen("00", "cc", 1));
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-more"),
            &format!(" {GOOD}"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0b1902b7", &"0".repeat(16)),
            &GOOD.replace('f', "é"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NoTraceParent), "{bad:?}");
        }
    }

    #[test]
    fn a_job_without_a_trace_has_the_same_one_everywhere() {
        let job = JobId::generate();
        let trace = TraceParent::of_job(job);
        assert_eq!(trace.trace_id(), job.to_string().replace('-', ""));
        assert_eq!(trace.to_string().parse(), Ok(trace));
    }
}
