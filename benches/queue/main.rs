//! `cargo bench --bench queue`: how fast jobs drain, each figure beside a limit that was measured in the
//! same run through the same driver. `-- --json` prints one object a line, `-- --smoke` does a hundredth of
//! the work. A further group of figures is a file beside `drain.rs`; `-- drain` measures only that one.

#![allow(clippy::unwrap_used, reason = "what cannot go on ends the run")]
#![allow(clippy::print_stdout, reason = "figures are its result")]
#![allow(missing_docs, reason = "a program, not a library")]

#[path = "../support.rs"]
#[expect(dead_code, reason = "other benchmarks use what this one does not")]
mod support;

mod drain;
mod jobs;
mod limits;

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
}

/// What every group of figures needs.
struct Bench<'a> {
    options: &'a Options,
    server: &'a Server,
    report: Report,
}
