//! A job's states and the reasons it can end for.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use utoipa::ToSchema;

/// Where a job is in its life.
///
/// ```text
/// blocked ──▶ scheduled ──due──▶ available ──claim──▶ running ──settle──▶ succeeded | failed | cancelled
///                 ▲                  ▲ ▲                 │ │
///                 └──── back-off ────┴─│─ lease lost ────┘ │
///                                      └ awaiting_approval ◀
/// ```
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(example = "succeeded")]
pub enum JobState {
    /// Waits for other jobs to succeed.
    Blocked,
    /// Waits for its `run_at`.
    Scheduled,
    /// Due; the next free runner takes it.
    Available,
    /// Held by a runner session.
    Running,
    /// Waits for a person.
    AwaitingApproval,
    /// Every step did what it should.
    Succeeded,
    /// A step failed, or the job could not be run; see `code`.
    Failed,
    /// Somebody asked for it to stop.
    Cancelled,
}

impl JobState {
    /// Whether the job has ended. A terminal state never changes by itself.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The word for it, as PostgreSQL and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a step or a job did not succeed. The words are stable: scripts may match them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    /// The step's `timeout_sec` passed.
    Timeout,
    /// The step printed nothing for its `idle_timeout_sec`.
    IdleTimeout,
    /// The program ended with a code other than 0.
    ExitNonzero,
    /// The program was ended by a signal nobody here sent.
    Signalled,
    /// The runner vanished as often as `max_attempts` allows.
    Lost,
    /// Somebody asked for it to stop.
    Cancelled,
    /// A job it needs ended without success.
    NeedsFailed,
    /// The runner was asked to stop before the step had ended; another runs it again.
    Interrupted,
    /// The host's policy does not allow it, or a sandbox could not be set up.
    Policy,
    /// The stored specification cannot be read by this version.
    Specification,
    /// The workspace could not be made.
    Workspace,
    /// The program could not be started.
    Spawn,
    /// The program wrote more, or took more memory, than its limits allow.
    OutputLimit,
    /// The program was ended because it took more memory than its limit.
    OutOfMemory,
    /// Somebody was asked and said no.
    Rejected,
    /// The agent ran and says itself that it failed.
    AgentFailed,
    /// The agent's output is not what its row says it prints.
    AgentOutput,
    /// A patch that the step builds on is not there.
    MissingPatch,
    /// A patch could not be applied to the workspace.
    PatchApplyFailed,
    /// What the step left behind still holds a secret; it was not kept.
    SecretsFound,
    /// What the step left behind could not be kept.
    Artifacts,
    /// A day's budget has no room for a call to the agent.
    BudgetExceeded,
    /// The database refused what the runner had to write; the runner's log says why.
    Internal,
}

impl Code {
    /// Whether the same step may do better when it is tried again.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::IdleTimeout
                | Self::ExitNonzero
                | Self::Signalled
                | Self::OutOfMemory
                | Self::AgentFailed
                | Self::AgentOutput
        )
    }

    /// The word for it, as PostgreSQL and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
