//! What the services take in memory when nothing happens. They are one program: pages of it that several of them have are in
//! memory once, and so each is charged with its share of them (PSS).

use std::time::Duration;

use super::Bench;
use super::http::Api;
use super::support::{Goal, Service};

pub(super) async fn measure(bench: &Bench<'_>) {
    let database = bench.server.database("memory").await;
    let pool = database.pool(1);
    let api = Api::start(&database, &pool).await.service;
    let runner = database.service(&["runner"], &[]);
    runner.hear("runner session open");
    let scheduler = database.service(&["scheduler"], &[]);
    scheduler.hear("scheduler running");
    // They have looked for work, ticked and renewed.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut together = 0.0;
    for (name, service) in [
        ("api", &api),
        ("runner, with its supervisor", &runner),
        ("scheduler", &scheduler),
    ] {
        let megabytes = resident(service);
        bench
            .report
            .say(&format!("idle memory of {name}"), megabytes, "MB");
        together += megabytes;
    }
    let name = "idle memory of api, runner and scheduler";
    bench
        .report
        .figure(name, together, "MB", None, Goal::AtMost(60.0));
    pool.close().await;
}

/// Megabytes of the process and of its children that are in memory.
fn resident(service: &Service) -> f64 {
    let pid = service.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children.split_whitespace().map(|child| child.parse().unwrap());
    std::iter::once(pid).chain(children).map(of).sum()
}

fn of(pid: u32) -> f64 {
    let shares = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let (said, name) = match shares {
        Ok(shares) => (shares, "Pss:"),
        // The runner shows that to root alone; the whole of what it has in memory is more.
        Err(_) => (
            std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap(),
            "VmRSS:",
        ),
    };
    let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kilobytes: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kilobytes * 1024.0 / 1e6
}
