//! What is done to the processes: everything to everyone, in an order that the seed says.

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
    // Who is let go when: services by their number.
    let mut frozen: Vec<(Instant, usize)> = Vec::new();
    for _ in 0..ROUNDS {
        for act in round(ground, random) {
            println!("{:>6.1?} {}", began.elapsed(), told(ground, act));
            if let Act::Kill(service) | Act::Freeze(service) | Act::Restart(service) = act {
                frozen.retain(|(_, other)| *other != service);
                ground.services[service].signal(Signal::SIGCONT);
            }
            if let Act::Freeze(service) = act {
                let length = freeze(ground, random, service);
                frozen.push((Instant::now() + length, service));
            } else {
                carry_out(ground, random, act);
            }
            let next = Instant::now() + part(random, 200..1600);
            while Instant::now() < next {
                let_go(ground, &mut frozen, Instant::now());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let last = frozen.iter().map(|(until, _)| *until).max();
    last.inspect(|last| let_go(ground, &mut frozen, *last));
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

fn freeze(ground: &Ground, random: &mut StdRng, service: usize) -> Duration {
    ground.services[service].signal(Signal::SIGSTOP);
    match ground.services[service].is_runner() {
        true => Duration::from_secs(LEASE) + part(random, 500..3000),
        false => part(random, 500..4000),
    }
}

fn let_go(ground: &Ground, frozen: &mut Vec<(Instant, usize)>, now: Instant) {
    frozen.retain(|(until, service)| {
        if *until <= now {
            ground.services[*service].signal(Signal::SIGCONT);
        }
        *until > now
    });
}

fn carry_out(ground: &mut Ground, random: &mut StdRng, act: Act) {
    let away = part(random, 0..2500);
    match act {
        Act::Kill(service) | Act::Restart(service) => {
            let signal = match act {
                Act::Kill(_) => Signal::SIGKILL,
                _ => Signal::SIGTERM,
            };
            ground.services[service].signal(signal);
            let said = ground.services[service].end();
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
            let one = sessions[random.random_range(1..sessions.len())];
            let _ = kill(one, Signal::SIGKILL);
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
