//! What the service manager is told: that this process is ready, that it lives, that it stops.
//!
//! That it lives is not a timer's word. Each part of a service that must go on says that it does,
//! from where its work is done; when one is silent for longer than it may be, systemd is told nothing
//! more, takes the process for hung and starts it again. Outside systemd nothing is told to anybody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How much longer than a drain the service manager lets a stopping process be.
const GRACE: Duration = Duration::from_secs(30);

/// The line to the service manager. Cheap to clone; the default is one that tells nobody anything.
#[derive(Clone, Debug, Default)]
pub struct Alive {
    tells: bool,
    parts: Arc<Mutex<Vec<Arc<State>>>>,
}

/// A part of the service that must go on, until it is dropped.
#[derive(Debug)]
pub struct Part {
    state: Arc<State>,
    alive: Alive,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    /// Longest silence that is no hang.
    patience: Duration,
    moved: Mutex<Instant>,
}

impl Alive {
    /// Opens the line, if a service manager gave this process one, and goes on telling it that the
    /// process lives as often as it asked for.
    #[must_use]
    pub fn start() -> Self {
        let alive = Self {
            tells: true,
            parts: Arc::default(),
        };
        if let Some(limit) = sd_notify::watchdog_enabled() {
            tokio::spawn(alive.clone().watch(limit));
        }
        alive
    }

    /// The service does its work from now on.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// What the service does, for people who look at it.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// The service stops, and asks for the time that letting work finish for up to `drain` takes, whatever the unit
    /// allows.
    pub fn stopping(&self, drain: Duration) {
        let longest = format!("EXTEND_TIMEOUT_USEC={}", (drain + GRACE).as_micros());
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping: what runs is let finish"),
            NotifyState::Custom(&longest),
        ]);
    }

    /// Names a part that must not be silent for longer than `patience`.
    #[must_use]
    pub fn part(&self, name: &'static str, patience: Duration) -> Part {
        let state = Arc::new(State {
            name,
            patience,
            moved: Mutex::new(Instant::now()),
        });
        self.parts().push(Arc::clone(&state));
        Part {
            state,
            alive: self.clone(),
        }
    }

    /// The first part that is silent for too long.
    fn silent(&self) -> Option<&'static str> {
        let parts = self.parts();
        let hung = |state: &&Arc<State>| state.moved().elapsed() > state.patience;
        parts.iter().find(hung).map(|state| state.name)
    }

    async fn watch(self, limit: Duration) {
        let mut said = None;
        loop {
            let silent = self.silent();
            match silent {
                None => self.tell(&[NotifyState::Watchdog]),
                // Once, not four times in each limit.
                Some(part) if said != silent => {
                    tracing::error!(
                        part,
                        "does not go on: the service manager is not told that this process lives"
                    );
                }
                Some(_) => {}
            }
            said = silent;
            tokio::time::sleep(limit / 4).await;
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.tells
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::debug!(error = %error, "the service manager could not be told");
        }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Arc<State>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn moved(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The part goes on.
    pub fn moves(&self) {
        *self.state.moved() = Instant::now();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.alive
            .parts()
            .retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_silent_for_longer_than_it_may_be_is_named_until_it_moves_or_is_gone() {
        let alive = Alive::default();
        let (patient, hasty) = (
            alive.part("patient", Duration::from_secs(3600)),
            alive.part("hasty", Duration::from_secs(60)),
        );
        assert_eq!(alive.silent(), None);
        *hasty.state.moved() = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        assert_eq!(alive.silent(), Some("hasty"));
        hasty.moves();
        assert_eq!(alive.silent(), None);
        *hasty.state.moved() = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        drop(hasty);
        assert_eq!(alive.silent(), None);
        patient.moves();
    }
}
