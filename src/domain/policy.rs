//! What a job may do, and how the host's word and the job's become one.
//!
//! A job may only narrow what its host allows. What would widen it is refused, not ignored: whoever
//! asked for more must not believe they got it.

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use utoipa::ToSchema;

use super::spec::check::no_nul_str;

/// What a job asks for. A field that is left out is as the runner's host has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether steps run in a sandbox. `false` is refused by a host that has one, `true` by a host
    /// that has none.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
    /// Whether steps reach a network. `allow` is refused by a host that denies it.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The only programs steps may be, of those the host allows, by name or path. Empty: all of those.
    #[garde(
        length(max = 100),
        inner(length(bytes, min = 1, max = 4096), custom(no_nul_str))
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["make", "/usr/bin/git"]))]
    pub allowed_binaries: Vec<String>,
    /// Whether somebody must approve the job before its first step.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(default = false)]
    pub requires_approval: bool,
    /// What each step may use; the host's limits hold where they are lower.
    #[garde(dive)]
    #[serde(default, skip_serializing_if = "PolicyLimits::is_empty")]
    pub limits: PolicyLimits,
}

/// Whether a step reaches anything but itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Network {
    /// No interface but its own loopback.
    Deny,
    /// The host's network.
    Allow,
}

/// Limits a job sets to its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyLimits {
    /// Most memory, in megabytes.
    #[garde(inner(range(min = 1, max = 1_000_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub memory_mb: Option<u64>,
    /// Most processes and threads at once.
    #[garde(inner(range(min = 1, max = 4_194_304)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_194_304)]
    pub pids: Option<u64>,
    /// Most processor time of one process, in seconds.
    #[garde(inner(range(min = 1, max = 31_536_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000)]
    pub cpu_sec: Option<u64>,
    /// Most output kept, in kilobytes.
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub output_kb: Option<u64>,
}

impl PolicyLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Policy {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The network a step gets on a host that has `host`.
    ///
    /// # Errors
    ///
    /// When the job asks for more than the host allows.
    pub fn network_on(&self, host: Network) -> Result<Network, &'static str> {
        match (self.network, host) {
            (Some(Network::Allow), Network::Deny) => Err(
                "The job asks for a network, which this host denies; ask its administrator for NETWORK_POLICY=allow, or leave policy.network out.",
            ),
            (asked, host) => Ok(asked.unwrap_or(host)),
        }
    }
}

/// The lower of two limits, of which either may be none.
#[must_use]
pub fn lower(host: Option<u64>, job: Option<u64>) -> Option<u64> {
    match (host, job) {
        (Some(host), Some(job)) => Some(host.min(job)),
        (host, job) => host.or(job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_narrows_and_never_widens() {
        let asks = |network| Policy {
            network,
            ..Policy::default()
        };
        assert_eq!(asks(None).network_on(Network::Deny), Ok(Network::Deny));
        assert_eq!(asks(None).network_on(Network::Allow), Ok(Network::Allow));
        assert_eq!(
            asks(Some(Network::Deny)).network_on(Network::Allow),
            Ok(Network::Deny)
        );
        assert!(asks(Some(Network::Allow)).network_on(Network::Deny).is_err());
        assert_eq!(
            (
                lower(Some(5), Some(9)),
                lower(None, Some(9)),
                lower(Some(5), None)
            ),
            (Some(5), Some(9), Some(5))
        );
    }
}
