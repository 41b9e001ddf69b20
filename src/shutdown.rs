//! Soft and hard stop: first nothing new is begun, then what runs is ended.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long telling of a stop may hold it up.
const TOLD: Duration = Duration::from_secs(1);

/// The two words a service listens for. Cheap to clone; children hear what their parent hears.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Begin nothing new; let what runs finish.
    pub soft: CancellationToken,
    /// End what still runs, now.
    pub hard: CancellationToken,
}

impl Stop {
    /// Listens for signals: the first `TERM` or `INT` is soft, the second is hard. Before anybody hears of the first,
    /// `tell` is called: who has nothing left to do may be gone at once.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub fn on_signals(tell: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = Self::default();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (told, mut tell) = (stop.clone(), Some(tell));
        tokio::spawn(async move {
            loop {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
                if told.soft.is_cancelled() {
                    tracing::warn!("asked to stop again: ending what still runs");
                    return told.hard();
                }
                tracing::info!("asked to stop: nothing new is begun");
                if let Some(tell) = tell.take() {
                    // Whoever is told may not listen.
                    let _ = timeout(TOLD, tokio::task::spawn_blocking(tell)).await;
                }
                told.soft.cancel();
            }
        });
        Ok(stop)
    }

    /// Hard includes soft.
    pub fn hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }
}
