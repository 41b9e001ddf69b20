//! `cargo bench --bench queue`: how fast jobs get in, start, run and end, each figure beside a limit that was
//! measured in the same run through the same driver, on a server of its own with durable settings.
//!
//! `-- --json` prints one object a line, `-- --smoke` does a hundredth of the work. Each group of figures is a file
//! beside this one, and a word on the command line: `-- drain webhook` measures only those.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../support.rs"]
#[expect(dead_code, reason = "other benchmarks use what this one does not")]
mod support;

mod drain;
mod health;
mod hogs;
mod http;
mod jobs;
mod latency;
mod limits;
mod memory;
mod processes;
mod webhook;

use support::{Options, Report, Server};

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    runtime.block_on(run(&options, &server));
    drop(runtime);
}

async fn run(options: &Options, server: &Server) {
    let bench = Bench {
        options,
        server,
        report: Report::new(options, &server.version().await),
    };
    if options.wants("drain") {
        drain::measure(&bench).await;
    }
    if options.wants("webhook") {
        webhook::measure(&bench).await;
    }
    if options.wants("processes") {
        processes::measure(&bench).await;
    }
    if options.wants("latency") {
        latency::measure(&bench).await;
    }
    if options.wants("hogs") {
        hogs::measure(&bench).await;
    }
    if options.wants("memory") {
        memory::measure(&bench).await;
    }
    if options.wants("health") {
        health::measure(&bench).await;
    }
}

/// What every group of figures needs.
struct Bench<'a> {
    options: &'a Options,
    server: &'a Server,
    report: Report,
}
