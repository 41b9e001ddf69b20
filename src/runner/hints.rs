//! What other processes say to a session: work has come, or something is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::backoff::Backoff;
use crate::domain::environment::DatabaseUrl;
use crate::domain::id::RunnerId;
use crate::store::listen::{self, Listener};

/// What wakes the search for work.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Told when work may have come.
    pub(super) work: Notify,
    /// Whether something urgent was among it.
    urgent: AtomicBool,
}

impl Work {
    fn wake(&self, urgent: bool) {
        self.urgent.fetch_or(urgent, Ordering::Relaxed);
        self.work.notify_one();
    }

    /// Whether something urgent has come since this was asked the last time.
    pub(super) fn take_urgent(&self) -> bool {
        self.urgent.swap(false, Ordering::Relaxed)
    }
}

/// Who is woken by what.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    /// Whose session this is.
    pub(super) runner: RunnerId,
    /// The queues it serves.
    pub(super) queues: Vec<String>,
    /// Told when work may have come.
    pub(super) work: Arc<Work>,
    /// Told when the session is to look whether something is asked of it.
    pub(super) asked: Arc<Notify>,
}

/// Listens until it is dropped, and wakes also whenever hints may have been missed.
pub(super) async fn listen(url: DatabaseUrl, ears: Ears) {
    let mut pause = Backoff::default();
    loop {
        if let Err(error) = hear(&url, &ears, &mut pause).await {
            tracing::debug!(error = %error, "not listening; polling until the connection is back");
            pause.wait(&CancellationToken::new()).await;
        }
    }
}

async fn hear(url: &DatabaseUrl, ears: &Ears, pause: &mut Backoff) -> crate::store::Result<()> {
    let mut listener = Listener::on(url, &[listen::WORK, listen::CONTROL]).await?;
    *pause = Backoff::default();
    // What came before the subscription was not heard.
    ears.work.wake(true);
    ears.asked.notify_one();
    let me = ears.runner.to_string();
    loop {
        match listener.next().await? {
            // Something may have been missed.
            None => {
                ears.work.wake(true);
                ears.asked.notify_one();
            }
            Some(hint) if hint.channel == listen::CONTROL && hint.payload == me => ears.asked.notify_one(),
            Some(hint) if hint.channel == listen::WORK => {
                let (queue, urgent) = listen::work(&hint.payload);
                if ears.queues.iter().any(|served| served == queue) {
                    ears.work.wake(urgent);
                }
            }
            Some(_) => {}
        }
    }
}
