//! A service that starts before its database, or before its migrations, waits for them.

use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::store::Pool;
use crate::store::migrate::{Fit, fit};

/// Waits until the schema has what this program needs and may be written to, or until `stop`; answers with
/// whether that came.
///
/// A newer schema is no reason to wait: it keeps what the last release of the program uses.
pub async fn wait(pool: &Pool, stop: &CancellationToken) -> bool {
    let mut pause = Backoff::default();
    let mut said = String::new();
    while !stop.is_cancelled() {
        let why = match fit(pool).await {
            Ok(Fit::Current) => return true,
            Ok(newer @ Fit::Ahead { .. }) => {
                tracing::warn!("{newer}");
                return true;
            }
            Ok(useless @ (Fit::Behind { .. } | Fit::Standby)) => useless.to_string(),
            Err(error) => error.to_string(),
        };
        // Said once for each reason, not at every look.
        if why != said {
            tracing::warn!("waiting: {why}");
            said = why;
        }
        pause.wait(stop).await;
    }
    false
}
