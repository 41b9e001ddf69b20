//! What agents may cost: held before a call, corrected after it.

use super::Session;
use crate::domain::budget::{self, Limit, Scope};
use crate::domain::id::JobId;
use crate::store::budget::{Held, Released, adjust, count, hold, of_project, release, spent};
use crate::store::{Connection, Result};

/// Whether a call may be made.
#[derive(Debug)]
pub enum Reserved {
    /// It may, and this is held for it.
    Held(Held),
    /// It may not: why, as a sentence.
    Refused(String),
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was not made.
    Nothing,
    /// It cost this much, in millionths of a US dollar; where nobody knows, what was held stays counted.
    Call(Option<i64>),
}

impl Session {
    /// Counts a call of a job's agent for `host`, with its limit, and for the job's project, if both have room for it and for
    /// what it usually costs. Any number of runners may ask at once: no more come through than there is room for.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`] when PostgreSQL is away; nothing is counted then.
    pub async fn reserve(&self, job: JobId, host: &str, limit: Limit, usual: i64) -> Result<Reserved> {
        let mut transaction = self.pool.begin().await?;
        let Some((project, of_project)) = of_project(&mut *transaction, job).await? else {
            return Ok(Reserved::Refused(
                "The job's project is not there any more.".to_owned(),
            ));
        };
        let micro_usd = budget::held(usual, limit, of_project);
        let project_key = project.to_string();
        let mut day = None;
        // In this order everywhere, so that nobody waits in a circle.
        for (scope, key, limit) in [
            (Scope::Host, host, limit),
            (Scope::Project, &project_key, of_project),
        ] {
            day = count(&mut transaction, scope, key, limit, micro_usd).await?;
            if day.is_none() {
                let why = refusal(&mut transaction, scope, key, limit, micro_usd).await?;
                transaction.rollback().await?;
                return Ok(Reserved::Refused(why));
            }
        }
        let Some(day) = day else {
            return Ok(Reserved::Refused("Nothing can be counted.".to_owned()));
        };
        let held = hold(&mut *transaction, day, host, project, job, micro_usd).await?;
        transaction.commit().await?;
        Ok(Reserved::Held(held))
    }

    /// Corrects what was held to what was spent, once.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error`] when PostgreSQL is away; it may be tried again.
    pub async fn correct(&self, held: Held, came_to: Spent) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        if let Some(Released {
            day,
            host,
            project,
            micro_usd,
        }) = release(&mut *transaction, held).await?
        {
            let (calls, more) = match came_to {
                Spent::Nothing => (-1, -micro_usd),
                Spent::Call(cost) => (0, cost.map_or(0, |cost| cost - micro_usd)),
            };
            let project = project.to_string();
            for (scope, key) in [(Scope::Host, host.as_str()), (Scope::Project, &project)] {
                adjust(&mut *transaction, day, scope, key, calls, more).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn refusal(
    db: &mut Connection,
    scope: Scope,
    key: &str,
    limit: Limit,
    micro_usd: i64,
) -> Result<String> {
    let spent = spent(db, scope, key).await?;
    Ok(limit.refusal(scope, spent, micro_usd))
}
