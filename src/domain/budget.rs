//! What agents may cost in a day.

/// Whose budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A host's, of all its runners together.
    Host,
    /// A project's, on whatever hosts.
    Project,
}

impl Scope {
    /// The word for it in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Project => "project",
        }
    }
}

/// How much, or how much at most; `None` is without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls.
    pub calls: Option<i32>,
    /// Their cost, in millionths of a US dollar.
    pub micro_usd: Option<i64>,
}

/// What is held for a call that nobody knows the cost of yet: `usual`, or all of a day's budget where that is
/// less. Nothing, where nobody limits the cost.
#[must_use]
pub fn held(usual: i64, host: Limit, project: Limit) -> i64 {
    let least = [host.micro_usd, project.micro_usd].into_iter().flatten().min();
    least.map_or(0, |least| least.min(usual))
}

impl Limit {
    /// Why a call that may cost `micro_usd` does not fit when this much was spent, as a sentence.
    #[must_use]
    pub fn refusal(self, scope: Scope, spent: Self, micro_usd: i64) -> String {
        let (whose, remedy) = match scope {
            Scope::Host => ("this host", "MAX_DAILY_API_CALLS or MAX_DAILY_COST_USD"),
            Scope::Project => (
                "the project",
                "the project's max_daily_calls or max_daily_cost_usd",
            ),
        };
        let calls = spent.calls.unwrap_or_default();
        let out_of_calls = self.calls.filter(|most| calls >= *most);
        let what = match out_of_calls {
            Some(most) => format!("{calls} of {most} calls"),
            None => format!(
                "{} of {} USD with what is under way, and the step may cost {}",
                usd(spent.micro_usd.unwrap_or_default()),
                self.micro_usd.map_or_else(|| "any".to_owned(), usd),
                usd(micro_usd)
            ),
        };
        format!(
            "The budget of {whose} for today is used up: {what}. Retry the job tomorrow (UTC), or raise {remedy}."
        )
    }
}

fn usd(micro: i64) -> String {
    format!("{}.{:02}", micro / 1_000_000, micro % 1_000_000 / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(calls: Option<i32>, micro_usd: Option<i64>) -> Limit {
        Limit { calls, micro_usd }
    }

    #[test]
    fn what_is_held_fits_every_limit_there_is() {
        let none = Limit::default();
        assert_eq!(held(1_000_000, none, none), 0);
        assert_eq!(held(1_000_000, limit(None, Some(5_000_000)), none), 1_000_000);
        assert_eq!(
            held(
                1_000_000,
                limit(None, Some(5_000_000)),
                limit(None, Some(200_000))
            ),
            200_000
        );
    }

    #[test]
    fn a_refusal_says_whose_budget_what_is_spent_and_what_to_do() {
        insta::assert_snapshot!(
            limit(Some(3), None).refusal(Scope::Host, limit(Some(3), Some(0)), 0),
            @"The budget of this host for today is used up: 3 of 3 calls. Retry the job tomorrow (UTC), or raise MAX_DAILY_API_CALLS or MAX_DAILY_COST_USD."
        );
        insta::assert_snapshot!(
            limit(Some(3), Some(2_500_000)).refusal(Scope::Project, limit(Some(2), Some(2_000_000)), 1_000_000),
            @"The budget of the project for today is used up: 2.00 of 2.50 USD with what is under way, and the step may cost 1.00. Retry the job tomorrow (UTC), or raise the project's max_daily_calls or max_daily_cost_usd."
        );
    }
}
