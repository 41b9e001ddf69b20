//! What operators may set of the API.

use std::time::Duration;

use axum::http::HeaderValue;
use ipnet::IpNet;
use url::Url;

/// What operators may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Where callers reach this API, for the links in answers. `None`: links are paths.
    pub public_url: Option<Url>,
    /// Requests of one client, and of one token, that are answered within `rate_window`; 0 is no limit.
    pub rate_most: u32,
    /// The time that `rate_most` is for.
    pub rate_window: Duration,
    /// Proxies that are believed about whom they heard from.
    pub trusted_proxies: Vec<IpNet>,
    /// Where pages of other origins may come from that call this API; empty is nowhere.
    pub cors: Cors,
    /// Requests answered at once.
    pub max_requests: usize,
    /// Streams followed at once.
    pub max_streams: usize,
    /// Connections held at once.
    pub max_connections: usize,
}

/// Whose pages may call the API from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Only its own.
    #[default]
    Off,
    /// Those of these origins.
    Origins(Vec<HeaderValue>),
    /// Everybody's.
    Any,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            public_url: None,
            rate_most: 0,
            rate_window: Duration::from_secs(60),
            trusted_proxies: Vec::new(),
            cors: Cors::Off,
            max_requests: 1024,
            max_streams: 1024,
            max_connections: 10_000,
        }
    }
}

impl Settings {
    /// A link callers can follow to `path`, which begins with a slash.
    pub(super) fn link(&self, path: &str) -> String {
        match &self.public_url {
            Some(url) => format!("{}{path}", url.as_str().trim_end_matches('/')),
            None => path.to_owned(),
        }
    }
}
