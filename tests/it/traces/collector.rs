//! Whoever collects spans: an HTTP server that decodes what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;

/// A span as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) attributes: BTreeMap<String, String>,
    /// The header `x-key` it came with.
    pub(super) key: String,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Takes spans in at `/v1/traces`.
pub(super) struct Collector {
    address: SocketAddr,
    spans: Spans,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, spans) = (listener.local_addr().unwrap(), Spans::default());
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(spans.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, spans }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

async fn take(State(spans): State<Spans>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    let key = headers.get("x-key").map_or("", |value| value.to_str().unwrap());
    for of in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = attributes(&of.resource.unwrap().attributes);
        for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let id = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or_default();
            spans.lock().unwrap().push(Span {
                service: resource["service.name"].clone(),
                trace: u128::from_be_bytes(span.trace_id.as_slice().try_into().unwrap()),
                id: id(&span.span_id),
                parent: id(&span.parent_span_id),
                attributes: attributes(&span.attributes),
                name: span.name,
                key: key.to_owned(),
            });
        }
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
