//! What an agent said in a step, and what it used.

/// What an agent said and used. What it did not say is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Which agent.
    pub agent: String,
    /// Whether it was not really run.
    pub simulated: bool,
    /// Its last words.
    pub report: String,
    /// What it calls its session.
    pub session_id: Option<String>,
    /// Tokens it read.
    pub input_tokens: Option<i64>,
    /// Tokens it wrote.
    pub output_tokens: Option<i64>,
    /// Tokens of those it read that came out of a cache.
    pub cached_tokens: Option<i64>,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_usd: Option<i64>,
}
