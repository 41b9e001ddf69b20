//! A job that left its place, however that came: settled, expired, cancelled, displaced or rejected.

use super::gate::Gate;
use crate::domain::id::JobId;

/// The job, and who may go on because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The job.
    pub job: JobId,
    /// Its queue, if it may be claimed again at once.
    pub queue: Option<String>,
    /// Whether the job has ended and others wait for that.
    pub needed: bool,
    /// Where it left room.
    pub gates: Vec<Gate>,
}
