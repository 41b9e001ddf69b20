//! What is done to the processes: everything to everyone, in an order that the seed says.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::ROUNDS;
use super::ground::{Ground, LEASE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Kill(usize),
    /// Frozen, a runner for longer than its lease.
    Freeze(usize),
    Restart(usize),
    KillServer,
    KillSession,
    FreezeServer,
    RestartServer,
}

/// Does everything to everyone, `ROUNDS` times, and leaves all of them running.
pub(super) fn make(ground: &mut Ground, random: &mut StdRng) {
    let began = Instant::now();
    let mut frozen = Vec::new();
    for _ in 0..ROUNDS {
        for act in round(ground, random) {
            println!("{:>6.1?} {}", began.elapsed(), told(ground, act));
            match act {
                Act::Freeze(service) => frozen.push(freeze(ground, random, service)),
                _ => carry_out(ground, random, act),
            }
            std::thread::sleep(part(random, 200..1600));
        }
    }
    frozen.into_iter().for_each(|thaws| thaws.join().unwrap());
}

/// Everything that can be done, once, shuffled.
fn round(ground: &Ground, random: &mut StdRng) -> Vec<Act> {
    let services = 0..ground.services.len();
    let mut acts: Vec<_> = services
        .flat_map(|service| [Act::Kill(service), Act::Freeze(service), Act::Restart(service)])
        .chain([
            Act::KillServer,
            Act::KillSession,
            Act::FreezeServer,
            Act::RestartServer,
        ])
        .collect();
    acts.shuffle(random);
    acts
}

fn told(ground: &Ground, act: Act) -> String {
    match act {
        Act::Kill(service) => format!("kill -9 {}", ground.services[service].name),
        Act::Freeze(service) => format!("freeze {}", ground.services[service].name),
        Act::Restart(service) => format!("restart {}", ground.services[service].name),
        server => format!("{server:?}"),
    }
}

/// Goes on by itself, whatever else is done meanwhile; not if the service is killed by then.
fn freeze(ground: &Ground, random: &mut StdRng, service: usize) -> JoinHandle<()> {
    let service = &ground.services[service];
    service.signal(Signal::SIGSTOP);
    let length = match service.is_runner() {
        true => Duration::from_secs(LEASE) + part(random, 500..3000),
        false => part(random, 500..4000),
    };
    let process = service.process();
    std::thread::spawn(move || {
        std::thread::sleep(length);
        let _ = kill(process, Signal::SIGCONT);
    })
}

fn carry_out(ground: &mut Ground, random: &mut StdRng, act: Act) {
    let away = part(random, 0..2500);
    match act {
        Act::Kill(service) | Act::Restart(service) => {
            let signal = match act {
                Act::Kill(_) => Signal::SIGKILL,
                _ => Signal::SIGTERM,
            };
            ground.services[service].must_run();
            let keepers = ground.services[service].keepers();
            // A step of the runner's user could do that; it is not to save anybody from the end.
            let stopped = if act == Act::Kill(service) {
                random.random_range(0..3)
            } else {
                0
            };
            for keeper in keepers.iter().take(stopped) {
                let _ = kill(*keeper, Signal::SIGSTOP);
            }
            ground.kept.extend(keepers);
            ground.services[service].signal(signal);
            // It may be frozen, and would not hear the word to end.
            ground.services[service].signal(Signal::SIGCONT);
            let (_, said) = ground.services[service].end();
            ground.said.push(said);
            std::thread::sleep(away / 4);
            ground.services[service].start();
        }
        Act::Freeze(_) => {}
        Act::KillServer => {
            ground.server.kill();
            std::thread::sleep(away);
            ground.server.start();
        }
        Act::RestartServer => {
            ground.server.stop();
            std::thread::sleep(away);
            ground.server.start();
        }
        // One of its processes dies: it ends all sessions and recovers by itself.
        Act::KillSession => {
            let sessions = ground.server.processes();
            if let Some(one) = sessions.get(random.random_range(1..sessions.len().max(2))) {
                let _ = kill(*one, Signal::SIGKILL);
            }
        }
        Act::FreezeServer => {
            ground.server.freeze();
            std::thread::sleep(away);
            ground.server.thaw();
        }
    }
}

fn part(random: &mut StdRng, milliseconds: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(milliseconds))
}
