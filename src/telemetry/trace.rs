//! Traces: spans of requests, attempts, steps and callbacks, exported by OTLP where a collector is
//! named, and joined to the trace of whoever caused them.
//!
//! Without a collector nothing is made or kept; a caller's `traceparent` is then handed on as it came.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use url::Url;

use crate::domain::id::JobId;
use crate::domain::trace::TraceParent;

/// Longest time an export may take.
const EXPORT: Duration = Duration::from_secs(10);
/// Longest time the last spans have when the process ends.
const LAST: Duration = Duration::from_secs(3);

/// What exports, once this process does.
static EXPORTER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Its address, without the path of the signal.
    pub endpoint: Url,
    /// Headers it wants, such as a key.
    pub headers: Vec<(String, SecretString)>,
    /// The share of traces that begin here which are kept; a caller's trace is kept if the caller keeps it.
    pub share: f64,
    /// What this process is called among others.
    pub service: String,
}

/// Begins to export, on the runtime this is called in; answers with what makes spans.
pub(super) fn start(collector: &Collector) -> anyhow::Result<SdkTracer> {
    let endpoint = format!("{}/v1/traces", collector.endpoint.as_str().trim_end_matches('/'));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(EXPORT)
        .user_agent(concat!("orchestrator/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT: no calls can be made from here")?;
    let exposed = |(name, value): &(String, SecretString)| (name.clone(), value.expose_secret().to_owned());
    let headers: HashMap<String, String> = collector.headers.iter().map(exposed).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender {
            client,
            runtime: Handle::current(),
            failing: AtomicBool::new(false),
        })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_headers(headers)
        .with_timeout(EXPORT)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder_empty()
        .with_service_name(collector.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            collector.share,
        ))))
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("orchestrator");
    // A second start in one process (tests) keeps the first.
    let _ = EXPORTER.set(provider);
    Ok(tracer)
}

/// Sends what is still to be sent, and no more from then on.
pub fn finish() {
    if let Some(provider) = EXPORTER.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST)
    {
        tracing::warn!(error = %error, "the last spans were not exported");
    }
}

/// Joins `span` to the trace of `parent`, or lets it begin one, and answers with where what is done
/// within it belongs: to the span where spans are exported, to `parent` as it came where they are not.
pub fn within(span: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    let own = match EXPORTER.get() {
        None => None,
        Some(_) => {
            if let Some(parent) = parent {
                // Fails where the span is filtered out; then it has no place of its own either.
                let _ = span.set_parent(context(parent));
            }
            place(span)
        }
    };
    let place = own.or(parent)?;
    span.record("trace_id", place.trace_id());
    Some(place)
}

/// Where what is done now belongs, or `parent` where no span is exported.
#[must_use]
pub fn here(parent: Option<TraceParent>) -> Option<TraceParent> {
    EXPORTER.get().and_then(|_| place(&Span::current())).or(parent)
}

/// The trace of a job: the one it came with, else, where spans are exported, one of its own.
#[must_use]
pub fn of_job(job: JobId, came_with: Option<TraceParent>) -> Option<TraceParent> {
    came_with.or_else(|| EXPORTER.get().map(|_| TraceParent::of_job(job)))
}

fn context(parent: TraceParent) -> Context {
    let context = SpanContext::new(
        TraceId::from_bytes(parent.trace.to_be_bytes()),
        SpanId::from_bytes(parent.span.to_be_bytes()),
        TraceFlags::new(parent.flags),
        true,
        TraceState::default(),
    );
    Context::new().with_remote_span_context(context)
}

fn place(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let here = context.span().span_context().clone();
    here.is_valid().then(|| TraceParent {
        trace: u128::from_be_bytes(here.trace_id().to_bytes()),
        span: u64::from_be_bytes(here.span_id().to_bytes()),
        flags: here.trace_flags().to_u8(),
    })
}

/// Sends spans. The exporter waits in a thread of its own, where no runtime is; the call is the runtime's.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.spawn(send(self.client.clone(), request)).await;
        let sent = sent.map_err(HttpError::from).and_then(|sent| sent);
        self.say(sent.as_ref().map(Response::status));
        sent
    }
}

impl Sender {
    /// A collector that is away is said once, and once that it is back.
    fn say(&self, sent: Result<reqwest::StatusCode, &HttpError>) {
        let trouble = match sent {
            Ok(status) if status.is_success() => None,
            Ok(status) => Some(format!("it answers with {status}")),
            Err(error) => Some(reasons(error.as_ref())),
        };
        let failed_before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !failed_before => {
                tracing::warn!(
                    error = why,
                    "the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes no spans; they are lost until it does"
                );
            }
            None if failed_before => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let answer = client
        .execute(request.try_into()?)
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = answer.headers().clone();
    }
    Ok(response.body(answer.bytes().await?)?)
}

/// An error with its causes: what `reqwest` says itself is only that it failed.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
