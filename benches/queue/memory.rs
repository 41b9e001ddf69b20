//! What the services take in memory when nothing happens. They are one program: pages of it that several of them have are in
//! memory once, and so each is charged with its share of them (PSS). What `ps` shows of each (RSS) counts them each time; its sum
//! is said as well.

use std::time::Duration;

use super::Bench;
use super::http::Api;
use super::support::{Goal, Service};

pub(super) async fn measure(bench: &Bench<'_>) {
    let database = bench.server.database("memory").await;
    let pool = database.pool(1);
    let api = Api::start(&database, &pool).await.service;
    let mut runner = database.service(&["runner"], &[]);
    runner.hear("runner session open");
    let mut scheduler = database.service(&["scheduler"], &[]);
    scheduler.hear("scheduler running");
    // They have looked for work, ticked and renewed.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (mut together, mut shown) = (0.0, 0.0);
    for (name, service) in [
        ("api", &api),
        ("runner, with its supervisor", &runner),
        ("scheduler", &scheduler),
    ] {
        let megabytes = resident(service, share);
        bench
            .report
            .say(&format!("idle memory of {name}"), megabytes, "MB");
        together += megabytes;
        shown += resident(service, rss);
    }
    bench
        .report
        .say("the same with shared pages counted each time (RSS)", shown, "MB");
    let name = "idle memory of api, runner and scheduler";
    bench
        .report
        .figure(name, together, "MB", None, Goal::AtMost(60.0));
    pool.close().await;
}

/// Megabytes of the process and of its children, of each what `of` says.
fn resident(service: &Service, of: fn(u32) -> f64) -> f64 {
    let pid = service.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children.split_whitespace().map(|child| child.parse().unwrap());
    std::iter::once(pid).chain(children).map(of).sum()
}

/// Its share. The runner shows that to root alone; the whole of what it has in memory is more.
fn share(pid: u32) -> f64 {
    let shares = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    shares.map_or_else(|_| rss(pid), |shares| megabytes(&shares, "Pss:"))
}

fn rss(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    megabytes(&status, "VmRSS:")
}

fn megabytes(said: &str, name: &str) -> f64 {
    let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kilobytes: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kilobytes * 1024.0 / 1e6
}
