//! One call to somebody else's server, in bounds: only to addresses that may be called, never by way of
//! a proxy, never further than the first answer, for so long and no longer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::{Certificate, Client, Response, header, redirect};
use url::{Host, Url};

use super::resolve::Guarded;
use crate::domain::address::{Closed, Opened};
use crate::domain::callback::{Tried, read_url, retry_after};
use crate::domain::clock;
use crate::store::delivery::Report;

/// Longest time until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Most bytes that are read of an answer's body.
const ANSWER: usize = 1024;

/// Makes calls. Cheap to clone.
#[derive(Clone)]
pub struct Call {
    client: Client,
    opened: Arc<Opened>,
    timeout: Duration,
}

/// Nothing can be called from here.
#[derive(Debug, thiserror::Error)]
#[error(
    "no TLS can be spoken from here ({0}); are the certificates of the system's authorities installed (ca-certificates)?"
)]
pub struct Unusable(String);

impl Call {
    /// One that calls what `resolver` leads to and `opened` admits, for at most `timeout`. Servers show
    /// certificates of the system's authorities or of `authorities`.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when TLS cannot be set up.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        opened: Opened,
        timeout: Duration,
        authorities: Vec<Certificate>,
    ) -> Result<Self, Unusable> {
        let opened = Arc::new(opened);
        let guarded = Guarded {
            inner: resolver,
            opened: opened.clone(),
        };
        let client = Client::builder()
            .dns_resolver(guarded)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            // A connection that is kept would be one that nobody checked for this call.
            .pool_max_idle_per_host(0)
            .tls_certs_merge(authorities)
            .user_agent(concat!("orchestrator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Unusable(reason(&error)))?;
        Ok(Self {
            client,
            opened,
            timeout,
        })
    }

    /// The longest a call takes.
    pub(super) fn longest(&self) -> Duration {
        self.timeout
    }

    /// Sends `body` to `url` and says what came of it.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> (Tried, Report) {
        let url = match self.admitted(url) {
            Ok(url) => url,
            Err(why) => return (Tried::Refused(why), Report::default()),
        };
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value));
        match request.body(body).send().await {
            Ok(response) => answered(response).await,
            Err(error) => (unanswered(&error), Report::default()),
        }
    }

    /// Whether a call there can be begun. An address in the URL itself is never looked up, so it is
    /// checked here.
    fn admitted(&self, url: &str) -> Result<Url, String> {
        let url = read_url(url).map_err(|why| format!("was not sent: its address {why}"))?;
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        match address.map(|address| self.opened.admit(address)) {
            Some(Err(closed)) => Err(format!("was not sent: {closed}")),
            _ => Ok(url),
        }
    }
}

async fn answered(response: Response) -> (Tried, Report) {
    let status = response.status();
    let wait = response.headers().get(header::RETRY_AFTER);
    let wait = wait.and_then(|value| retry_after(value.to_str().ok()?, clock::now()));
    let tried = Tried::Answered {
        status: status.as_u16(),
        retry_after: wait,
    };
    let report = Report {
        address: response.remote_addr().map(|address| address.to_string()),
        // The status is the answer. A body is read only to tell people what was wrong.
        answer: match status.is_success() {
            true => None,
            false => beginning(response).await,
        },
        ..Report::default()
    };
    (tried, report)
}

/// How a body begins, as text that PostgreSQL can hold.
async fn beginning(mut response: Response) -> Option<String> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER - bytes.len())]);
        if bytes.len() == ANSWER {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
    (!text.is_empty()).then_some(text)
}

fn unanswered(error: &reqwest::Error) -> Tried {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(closed) = inner.downcast_ref::<Closed>() {
            return Tried::Refused(format!(
                "was not sent: its name leads to {}: {closed}",
                closed.address
            ));
        }
        cause = inner.source();
    }
    Tried::Unanswered(reason(error))
}

/// What went wrong, without the address, which may hold a secret of the receiver's.
fn reason(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "was not answered in time"
    } else if error.is_dns() {
        "has a host whose name cannot be looked up"
    } else if error.is_connect() {
        "could not be connected"
    } else {
        "was not answered as HTTP has it"
    };
    let mut last = None;
    let mut cause = error.source();
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    match last {
        Some(last) => format!("{what}: {last}"),
        None => what.to_owned(),
    }
}
