//! Reads that more than one entrance shows: a job with its steps.

use serde_json::Value;

use super::authenticate::Caller;
use crate::domain::id::JobId;
use crate::store::job::Job;
use crate::store::step::Step;
use crate::store::{self, Pool, Result};

/// A job and the steps of it that ended.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The job.
    pub job: Job,
    /// What was asked for.
    pub spec: Value,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// The job, if the caller may see it; `None` for another project's job as for none.
///
/// # Errors
///
/// [`store::Error`] when PostgreSQL is away.
pub async fn overview(pool: &Pool, caller: &Caller, id: JobId) -> Result<Option<Overview>> {
    let Some((job, spec)) = store::job::find(pool, id, caller.projects.as_deref()).await? else {
        return Ok(None);
    };
    let steps = store::step::of_job(pool, id).await?;
    Ok(Some(Overview { job, spec, steps }))
}
