//! Parses the command line, dispatches, and chooses the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use orchestrator::cli::Cli;
use orchestrator::config::env_file::Restart;
use orchestrator::runner::process::supervise::{SUPERVISOR, supervise};
use orchestrator::telemetry;

fn main() -> ExitCode {
    // Before anything that makes a thread or takes memory: each step is begun by a copy of that process.
    if std::env::args_os().nth(1).is_some_and(|word| word == SUPERVISOR) {
        return supervise();
    }
    match Restart::asked_for(std::env::args_os()) {
        Ok(None) => {}
        Ok(Some(again)) => return failed(&again.execute().into()),
        Err(why) => {
            anstream::eprintln!("orchestrator: {why}");
            return ExitCode::from(2);
        }
    }
    let cli = Cli::parse();
    // The one implementation of TLS this program has; a second call would be refused, and be harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let entered = runtime.enter();
    let (logging, collector) = (&cli.logging, cli.collector());
    if let Err(error) = telemetry::start(&logging.log_level, logging.log_json, collector.as_ref()) {
        return failed(&error);
    }
    drop(entered);
    let ended = runtime.block_on(cli.run());
    telemetry::trace::finish();
    match ended {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// The whole chain of causes on standard error, and code 1.
fn failed(error: &anyhow::Error) -> ExitCode {
    anstream::eprintln!("orchestrator: {error:#}");
    ExitCode::FAILURE
}
