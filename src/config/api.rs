//! Settings of the API.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use url::Url;

use super::value::{self, List, parse_seconds};

/// The webhook and admin API.
#[derive(Args, Clone, Debug)]
#[group(id = "api_settings")]
pub struct Api {
    /// Address to listen on
    #[arg(
        long = "bind",
        env = "API_BIND",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub bind: SocketAddr,
    /// Largest request body, in bytes
    #[arg(long, env = "MAX_WEBHOOK_BODY_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u64).range(1024..=64 * 1024 * 1024))]
    pub max_webhook_body_bytes: u64,
    /// Where callers reach the API, as https://jobs.example.com; links in answers begin with it
    #[arg(long, env = "PUBLIC_URL", value_name = "URL", value_parser = value::parse_public_url)]
    pub public_url: Option<Url>,
    /// Most requests of one client, and of one token, in a window; 0 is no limit [default: 60000; dev: 0]
    #[arg(long, env = "WEBHOOK_RATE_LIMIT_MAX_REQUESTS", value_name = "N")]
    pub webhook_rate_limit_max_requests: Option<u32>,
    /// The window of that limit, in seconds
    #[arg(long, env = "WEBHOOK_RATE_LIMIT_WINDOW_SEC", value_name = "SEC", default_value = "60", value_parser = parse_seconds)]
    pub webhook_rate_limit_window_sec: Duration,
    /// Proxies whose X-Forwarded-For is believed, as addresses or networks; others' is not
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "LIST", default_value = "", hide_default_value = true,
          value_parser = value::parse_networks)]
    pub trusted_proxies: List<IpNet>,
    /// Origins whose pages may call the API from a browser, as https://ui.example.com, or *; none otherwise
    #[arg(long, env = "CORS_ALLOWED_ORIGINS", value_name = "LIST", default_value = "", hide_default_value = true,
          value_parser = value::parse_origins)]
    pub cors_allowed_origins: List<String>,
    /// Most requests answered at once; more are answered with 503
    #[arg(long, env = "API_MAX_REQUESTS", value_name = "N", default_value_t = 2048,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub api_max_requests: u32,
    /// Most streams of logs and events followed at once; more are answered with 503
    #[arg(long, env = "API_MAX_STREAMS", value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub api_max_streams: u32,
    /// Most connections held at once; more wait until one ends
    #[arg(long, env = "API_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub api_max_connections: u32,
}
