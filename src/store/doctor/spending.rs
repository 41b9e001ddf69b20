//! What projects may do without a sandbox, and how near budgets are to their end.

use crate::domain::budget::Limit;
use crate::store::{Executor, Result};

/// Projects whose steps an administrator lets run without a sandbox.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn without_sandbox(db: impl Executor<'_>) -> Result<Vec<String>> {
    let aliases = sqlx::query_scalar!("select alias from project where not sandbox order by alias")
        .fetch_all(db)
        .await?;
    Ok(aliases)
}

/// A budget of today of which four fifths or more are spent.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Whose: a project's alias or the host, as people say it.
    pub whose: String,
    /// What is counted: calls or US dollars.
    pub unit: String,
    /// How much is spent, what is under way included.
    pub spent: f64,
    /// How much there is.
    pub most: f64,
}

/// Budgets of today that are nearly or all spent: those of every project, and that of `host`, whose limit its settings say.
///
/// # Errors
///
/// [`crate::store::Error`] when PostgreSQL is away.
pub async fn nearly_spent(db: impl Executor<'_>, host: &str, limit: Limit) -> Result<Vec<Budget>> {
    let budgets = sqlx::query_as!(
        Budget,
        r#"
        select whose as "whose!", unit as "unit!", spent as "spent!", most as "most!"
          from (select 'project ' || alias as whose, 'project' as scope, id::text as key, max_daily_calls as calls, max_daily_cost_usd::float8 as usd
                  from project
                 union all
                select 'this host', 'host', $1, $2::int, $3::bigint / 1e6::float8) as budget
               join spending on spending.scope = budget.scope and spending.key = budget.key
                            and spending.day = (now() at time zone 'UTC')::date,
               lateral (values ('calls', spending.calls::float8, budget.calls::float8),
                               ('USD', spending.micro_usd / 1e6::float8, budget.usd)) as counted (unit, spent, most)
         -- A limit of nothing is an administrator's word, not a budget that runs out.
         where most > 0 and spent >= 0.8 * most
         order by whose, unit
        "#,
        host,
        limit.calls,
        limit.micro_usd,
    )
    .fetch_all(db)
    .await?;
    Ok(budgets)
}
