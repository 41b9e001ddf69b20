//! `/metrics` of a process that serves nothing else.

use std::net::SocketAddr;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

/// The format Prometheus reads.
pub const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Opens `address` and answers `/metrics` there for as long as the process runs.
///
/// It has no tokens and no TLS: give it a loopback address, or one only Prometheus reaches.
///
/// # Errors
///
/// When the address cannot be had.
pub async fn serve(address: SocketAddr, metrics: PrometheusHandle) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(http.address = %listener.local_addr()?, "metrics listening");
    let render = move || {
        let metrics = metrics.clone();
        async move { ([(header::CONTENT_TYPE, FORMAT)], metrics.render()) }
    };
    let router = Router::new().route("/metrics", get(render));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(error = %error, "the metrics are no longer served");
        }
    });
    Ok(())
}
