//! What the tables say: work that waits for nobody, runners that vanished, tokens to look at.

use super::{Check, duration};
use crate::store::doctor::{self, OddToken, Waiting};
use crate::store::{self, Pool};

/// How long a job that could be claimed may wait, in seconds, before somebody should know.
const WAIT_SEC: f64 = 300.0;

pub(super) async fn look(pool: &Pool, checks: &mut Vec<Check>) -> store::Result<()> {
    queue(&doctor::waiting(pool).await?, checks);
    scheduler(&doctor::overdue(pool).await?, checks);
    runners(pool, checks).await?;
    callbacks(doctor::callbacks(pool).await?, checks);
    let (good, odd) = doctor::tokens(pool).await?;
    tokens(good, &odd, checks);
    Ok(())
}

fn queue(waiting: &[Waiting], checks: &mut Vec<Check>) {
    let mut jobs = 0;
    let before = checks.len();
    for of in waiting {
        jobs += of.jobs;
        let what = match of.label.as_str() {
            "" => format!("queue {}", of.queue),
            label => format!("queue {} with label {label}", of.queue),
        };
        let found = format!(
            "{} jobs wait in {what}, the oldest for {}",
            of.jobs,
            duration(of.oldest_sec)
        );
        if of.paused {
            let remedy = format!("when it is to go on: orchestrator queues resume {}", of.queue);
            checks.push(Check::warn(
                "queue",
                format!("{found}; the queue is paused"),
                remedy,
            ));
        } else if !of.served {
            checks.push(Check::fail(
                "queue",
                format!("{found}; no runner claims them"),
                "start a runner with that queue in RUNNER_QUEUES, and the label in RUNNER_LABELS",
            ));
        } else if of.oldest_sec > WAIT_SEC {
            checks.push(Check::warn(
                "queue",
                found,
                "add runners or slots; runners shows how busy those are that there are",
            ));
        }
    }
    if checks.len() == before {
        checks.push(Check::ok("queue", format!("{jobs} jobs wait, none for long")));
    }
}

fn scheduler(overdue: &doctor::Overdue, checks: &mut Vec<Check>) {
    checks.push(match overdue.jobs + overdue.schedules {
        0 => Check::ok("scheduler", "nothing due is left undone"),
        _ => Check::fail(
            "scheduler",
            format!(
                "{} jobs and {} schedules have been due for more than a minute",
                overdue.jobs, overdue.schedules
            ),
            "start a scheduler, or look at its log",
        ),
    });
}

fn callbacks(found: doctor::Callbacks, checks: &mut Vec<Check>) {
    let before = checks.len();
    if found.stuck > 0 {
        checks.push(Check::fail(
            "callbacks",
            format!(
                "{} callbacks have been due for more than 5 minutes, and nobody tries them",
                found.stuck
            ),
            "start a scheduler that has SECRETS_KEY; its log says why callbacks wait",
        ));
    }
    if found.failing > 0 {
        checks.push(Check::warn(
            "callbacks",
            format!(
                "{} callbacks were tried five times and more without an answer that counts",
                found.failing
            ),
            "orchestrator deliveries --state pending says why; they are given up after a day",
        ));
    }
    if found.dead > 0 {
        checks.push(Check::warn(
            "callbacks",
            format!("{} callbacks were given up within a day", found.dead),
            "orchestrator deliveries --state dead says why; orchestrator deliveries redeliver ID sends one again",
        ));
    }
    if checks.len() == before {
        checks.push(Check::ok(
            "callbacks",
            format!("{} are on their way, none in trouble", found.pending),
        ));
    }
}

async fn runners(pool: &Pool, checks: &mut Vec<Check>) -> store::Result<()> {
    let lost = doctor::lost_runners(pool).await?;
    for session in &lost {
        checks.push(Check::warn(
            "runners",
            format!(
                "runner {} on {} vanished with {} jobs (session {})",
                session.instance, session.host, session.jobs, session.id
            ),
            "look at that host; orchestrator recover takes its jobs back and forgets it",
        ));
    }
    let live = store::runner::live(pool, None).await?;
    let live: Vec<_> = live
        .iter()
        .filter(|live| lost.iter().all(|lost| lost.id != live.id))
        .collect();
    checks.push(match live.as_slice() {
        [] => Check::warn(
            "runners",
            "no runner is there",
            "start one: nothing is run without",
        ),
        some => {
            let slots: i32 = some.iter().map(|runner| runner.slots).sum();
            let busy: i64 = some.iter().map(|runner| runner.running).sum();
            Check::ok(
                "runners",
                format!("{} there, {busy} of {slots} slots busy", some.len()),
            )
        }
    });
    Ok(())
}

fn tokens(good: i64, odd: &[OddToken], checks: &mut Vec<Check>) {
    for token in odd {
        let name = format!("token {} ({}…)", token.name, token.prefix);
        let at = token
            .expires_at
            .map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string())
            .unwrap_or_default();
        checks.push(match token.why.as_str() {
            "expires" => Check::warn("tokens", format!("{name} expires on {at}"), "rotate it before"),
            "expired" => Check::warn(
                "tokens",
                format!("{name} expired on {at}"),
                "revoke it, if nobody misses it",
            ),
            _ => Check::warn(
                "tokens",
                format!("{name} was not used for three months"),
                "revoke it, if nobody misses it",
            ),
        });
    }
    checks.push(match good {
        0 => Check::warn(
            "tokens",
            "there is none, so that nobody can use the API",
            "name one in WEBHOOK_TOKENS",
        ),
        some => Check::ok("tokens", format!("{some} are good")),
    });
}
