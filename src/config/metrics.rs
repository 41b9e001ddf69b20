//! Where a process without an API shows its metrics.

use std::net::SocketAddr;

use clap::Args;

/// Metrics of a process that serves nothing else.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "metrics_settings")]
pub struct Metrics {
    /// Address to answer /metrics at, without tokens, as 127.0.0.1:9464 [default: none]
    #[arg(long, env = "METRICS_BIND", value_name = "ADDR:PORT")]
    pub metrics_bind: Option<SocketAddr>,
}
