//! How callbacks go out.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::parse_seconds;
use crate::domain::address::{Opened, read_ranges};

/// Callbacks: the end of jobs, told to others.
#[derive(Args, Clone, Debug)]
#[group(id = "callback_settings")]
pub struct Callbacks {
    /// Ranges of addresses that callbacks may go to although they are not public, as 10.1.0.0/16,fd00::/8
    #[arg(long, env = "CALLBACK_ALLOWED_RANGES", value_name = "LIST", default_value = "", hide_default_value = true,
          value_parser = read_ranges)]
    pub callback_allowed_ranges: Opened,
    /// Callbacks on their way at once
    #[arg(long, env = "CALLBACK_CONCURRENCY", value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub callback_concurrency: u16,
    /// Longest a callback may take, from the look-up of its name to the end of the answer, in seconds
    #[arg(long, env = "CALLBACK_TIMEOUT_SEC", value_name = "SEC", default_value = "15", value_parser = parse_seconds)]
    pub callback_timeout_sec: Duration,
    /// File with certificates (PEM) of authorities that receivers may have theirs from, besides the system's
    #[arg(long, env = "CALLBACK_CA_FILE", value_name = "FILE")]
    pub callback_ca_file: Option<PathBuf>,
}
