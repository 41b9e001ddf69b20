//! Where traces go.

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::value::{List, Secretly, parse_headers, parse_public_url, parse_share};

/// Traces, exported by OTLP over HTTP. Without an address nothing is exported.
#[derive(Args, Clone, Debug)]
#[group(id = "trace_settings")]
pub struct Traces {
    /// Collector that spans are sent to, as http://127.0.0.1:4318, by OTLP over HTTP with protobuf [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = parse_public_url)]
    pub otel_exporter_otlp_endpoint: Option<Url>,
    /// Headers that the collector asks for, as name=value,other=value
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", value_name = "LIST", default_value = "", hide_env_values = true,
          value_parser = Secretly(parse_headers))]
    pub otel_exporter_otlp_headers: List<(String, SecretString)>,
    /// Name of the service that spans are from [default: orchestrator- and the subcommand]
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// Share of traces to export of those that begin here, from 0 to 1; a caller's is exported if the caller's flag says so
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE", default_value = "1", value_parser = parse_share)]
    pub otel_traces_sampler_arg: f64,
}
