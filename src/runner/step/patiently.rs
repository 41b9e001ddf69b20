//! What a step asks the tables while they may be away.

use crate::app::backoff::Backoff;
use crate::domain::attempt::Failure;
use crate::domain::job::Code;
use crate::runner::held::Brake;
use crate::store;

/// Asks the tables, and waits for them while they are away, until the attempt has to stop.
///
/// # Errors
///
/// `internal` when they refuse, `interrupted` when the attempt had to stop.
pub(super) async fn patiently<T, F: Future<Output = store::Result<T>>>(
    brake: &Brake,
    ask: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut pause = Backoff::default();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_unavailable() => {
                tracing::error!(error = %error, "a step could not be prepared");
                let sentence = "The database refused what the step needs; the runner's log says why.";
                return Err(Failure::new(Code::Internal, sentence));
            }
            Err(_) if brake.reason().is_some() => {
                let sentence = "Stopped while it waited for the database.";
                return Err(Failure::new(Code::Interrupted, sentence));
            }
            Err(error) => {
                tracing::warn!(error = %error, "a step waits for the database");
                pause.wait(brake.token()).await;
            }
        }
    }
}
