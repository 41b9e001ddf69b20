//! What administrators allow: projects without a sandbox, budgets that come to their end.

use super::Check;
use crate::runner;
use crate::store::doctor::spending::{self, Budget};
use crate::store::{self, Pool};

pub(super) async fn look(
    pool: &Pool,
    settings: &runner::Settings,
    checks: &mut Vec<Check>,
) -> store::Result<()> {
    let without = spending::without_sandbox(pool).await?;
    if !without.is_empty() {
        checks.push(Check::warn(
            "sandbox",
            format!("steps of {} run without a sandbox", without.join(", ")),
            "unless their authors may do all the services' user may: orchestrator project set ALIAS --sandbox on",
        ));
    }
    let budgets = spending::nearly_spent(pool, &runner::host(), settings.budget).await?;
    match budgets.is_empty() {
        true => checks.push(Check::ok("budgets", "none is near its end")),
        false => checks.extend(budgets.iter().map(budget)),
    }
    Ok(())
}

fn budget(budget: &Budget) -> Check {
    let Budget {
        whose,
        unit,
        spent,
        most,
    } = budget;
    let share = (spent / most * 100.0).floor();
    Check::warn(
        "budgets",
        format!("{whose} has spent {spent} of {most} {unit} of today ({share} %)"),
        "what is beyond it fails with budget_exceeded until midnight UTC; docs/SANDBOX.md says what raises it",
    )
}
