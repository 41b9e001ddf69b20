//! Whether a request is taken in at all: so many at once, and so many of one client and one token in
//! a while. Both are kept in this process; no request waits for a database to be refused.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use super::client::{Peer, address, counted};
use super::problem::{Kind, Problem};

/// After so many requests those are forgotten who have their whole allowance again.
const TIDY: u32 = 1 << 16;

/// Whom requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Client(IpAddr),
    /// A keyed hash of what was presented: it is counted before anybody knows whether it is a token.
    Token(u64),
}

/// Requests of one, counted; who waits gets their allowance back little by little (GCRA).
struct Rate {
    limiter: RateLimiter<Who, DashMapStateStore<Who>, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
    most: u32,
    window: Duration,
    /// `RateLimit-Policy`, which never changes.
    policy: HeaderValue,
    hash: RandomState,
    counted: AtomicU32,
}

/// What this process takes in.
pub(super) struct Admission {
    slots: Semaphore,
    most: usize,
    rate: Option<Rate>,
    trusted: Vec<IpNet>,
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            slots: Semaphore::new(settings.max_requests),
            most: settings.max_requests,
            rate: NonZeroU32::new(settings.rate_most).and_then(|most| Rate::new(most, settings.rate_window)),
            trusted: settings.trusted_proxies.clone(),
        }
    }
}

/// The streams of logs and events that are followed in this process. They last for hours, so they are
/// counted apart from requests.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    seats: Arc<Semaphore>,
    most: usize,
}

impl Streams {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(settings.max_streams)),
            most: settings.max_streams,
        }
    }

    /// A seat for one more stream, to be kept for as long as it lasts.
    pub(super) fn seat(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.seats.clone().try_acquire_owned().map_err(|_| {
            let detail = format!(
                "{} streams are being followed, which is as many as may be",
                self.most
            );
            refused_as_overloaded(detail).with_header(header::RETRY_AFTER, "5")
        })
    }
}

/// A stream that has nothing to say says so this often: a reader who left is noticed within two of
/// them, and their seat is free again.
const BEAT: Duration = Duration::from_secs(5);

/// The answer to somebody who follows `events`, which holds their seat.
pub(super) fn streamed<S>(events: S) -> Response
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    // nginx is not to gather what is to arrive at once.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    let alive = KeepAlive::new().interval(BEAT);
    (unbuffered, Sse::new(events).keep_alive(alive)).into_response()
}

/// Takes a request in, or answers 503 or 429. Probes, metrics and the pages of the documentation are
/// always taken in: they say how it is when nothing else is answered.
pub(super) async fn admit<Answer>(
    admission: &Admission,
    mut request: Request,
    next: impl FnOnce(Request) -> Answer,
) -> Response
where
    Answer: Future<Output = Response>,
{
    let client = client(&request, &admission.trusted);
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    if is_open(request.uri().path()) {
        return next(request).await;
    }
    let Ok(_slot) = admission.slots.try_acquire() else {
        return overloaded(admission.most).into_response();
    };
    let Some(rate) = &admission.rate else {
        return next(request).await;
    };
    let (mut response, left) = match rate.count(client, request.headers()) {
        Ok(left) => (next(request).await, left),
        Err(wait) => (rate.refusal(wait).into_response(), 0),
    };
    rate.say(&mut response, left);
    response
}

/// The secret of an `Authorization`, however its scheme is written.
fn secret(presented: &[u8]) -> &[u8] {
    let scheme = presented.iter().position(|byte| *byte == b' ');
    scheme.map_or(presented, |end| presented[end..].trim_ascii())
}

fn client(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let Peer(peer) = request.extensions().get::<Peer>()?;
    Some(address(peer.ip(), request.headers(), trusted))
}

fn is_open(path: &str) -> bool {
    ["/health", "/metrics", "/docs", "/openapi.json"]
        .iter()
        .any(|open| path.starts_with(open))
}

fn overloaded(most: usize) -> Problem {
    let detail = format!("{most} requests are being answered at this moment, which is as many as may be");
    refused_as_overloaded(detail).with_header(header::RETRY_AFTER, "1")
}

fn refused_as_overloaded(detail: String) -> Problem {
    metrics::counter!("orchestrator_http_refused_total", "reason" => "overloaded").increment(1);
    Problem::new(Kind::Overloaded, detail)
}

impl Rate {
    /// `None` when the window is so short and the number so large that nothing would be limited.
    fn new(most: NonZeroU32, window: Duration) -> Option<Self> {
        let quota = Quota::with_period(window / most.get())?.allow_burst(most);
        let policy = format!("\"requests\";q={most};w={}", window.as_secs().max(1));
        Some(Self {
            limiter: RateLimiter::dashmap(quota).with_middleware(),
            clock: DefaultClock::default(),
            most: most.get(),
            window,
            policy: HeaderValue::from_str(&policy).ok()?,
            hash: RandomState::new(),
            counted: AtomicU32::new(0),
        })
    }

    /// Counts a request; answers with how many more may come at once, or with how long to wait.
    fn count(&self, client: Option<IpAddr>, headers: &HeaderMap) -> Result<u32, Duration> {
        if self.counted.fetch_add(1, Ordering::Relaxed) % TIDY == TIDY - 1 {
            self.limiter.retain_recent();
        }
        let client = client.map(|address| Who::Client(counted(address)));
        let token = headers
            .get(header::AUTHORIZATION)
            .map(|presented| Who::Token(self.hash.hash_one(secret(presented.as_bytes()))));
        let mut left = self.most;
        for who in client.into_iter().chain(token) {
            match self.limiter.check_key(&who) {
                Ok(state) => left = left.min(state.remaining_burst_capacity()),
                Err(not_until) => return Err(not_until.wait_time_from(self.clock.now())),
            }
        }
        Ok(left)
    }

    fn refusal(&self, wait: Duration) -> Problem {
        metrics::counter!("orchestrator_http_refused_total", "reason" => "rate_limit").increment(1);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!(
            "{} requests in {} s are allowed to one client and to one token; wait {seconds} s",
            self.most,
            self.window.as_secs_f64(),
        );
        Problem::new(Kind::TooManyRequests, detail).with_header(header::RETRY_AFTER, &seconds.to_string())
    }

    /// The allowance, in the words of the current draft and in those that clients know from before it.
    fn say(&self, response: &mut Response, left: u32) {
        let spent = f64::from(self.most - left) / f64::from(self.most);
        let whole_in = self.window.mul_f64(spent).as_secs_f64().ceil();
        let headers = response.headers_mut();
        let number = |number: u32| HeaderValue::from(number);
        headers.insert("ratelimit-limit", number(self.most));
        headers.insert("ratelimit-remaining", number(left));
        headers.insert("ratelimit-reset", HeaderValue::from(whole_in as u64));
        headers.insert("ratelimit-policy", self.policy.clone());
        if let Ok(state) = HeaderValue::from_str(&format!("\"requests\";r={left};t={whole_in}")) {
            headers.insert(HeaderName::from_static("ratelimit"), state);
        }
    }
}
