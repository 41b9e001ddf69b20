//! `orchestrator deliveries` and `orchestrator callback-secret`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::{database, output, values};
use crate::app::authenticate::Caller;
use crate::app::callback_secrets;
use crate::app::deliver::{self, Shown};
use crate::config;
use crate::domain::callback::DeliveryState;
use crate::domain::id::{DeliveryId, JobId};
use crate::store::delivery::{self, Filter};

/// Callbacks that go out, the newest first.
#[derive(Args, Debug)]
pub(super) struct Deliveries {
    #[command(flatten)]
    database: config::Database,
    /// Only those of this job
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// Only those in this state: pending, delivered or dead
    #[arg(long, value_name = "STATE", hide_possible_values = true, value_parser = values::word::<DeliveryState>())]
    state: Option<DeliveryState>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Show a callback with its tries
    Show {
        /// The callback's id
        id: DeliveryId,
    },
    /// Send a callback again, for another day of tries
    Redeliver {
        /// The callback's id
        id: DeliveryId,
    },
}

impl Deliveries {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-deliveries", 2).await?;
        let caller = Caller::operator("cli");
        let (id, shown) = match self.act {
            None => {
                let filter = Filter {
                    job: self.job,
                    state: self.state,
                    ..Filter::default()
                };
                let page = delivery::page(&pool, filter, None, self.limit).await?;
                output::text(&list(page.items))?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(Act::Show { id }) => (id, deliver::show(&pool, &caller, id).await?),
            Some(Act::Redeliver { id }) => (id, deliver::send_again(&pool, &caller, id).await?),
        };
        let shown = shown.with_context(|| format!("there is no callback {id}"))?;
        output::text(&tries(shown))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list(deliveries: Vec<delivery::Delivery>) -> String {
    let rows = deliveries.into_iter().map(|row| {
        let tries = row.attempts.to_string();
        let ids = [row.id.to_string(), row.job.to_string()];
        let [id, job] = ids;
        [
            id,
            job,
            row.state.to_string(),
            tries,
            row.last_reason.unwrap_or_default(),
        ]
    });
    output::table(["callback", "job", "state", "tries", "last reason"], rows)
}

fn tries(shown: Shown) -> String {
    let delivery = shown.delivery;
    let head = format!(
        "callback {} of job {} to {}: {}\n",
        delivery.id, delivery.job, delivery.url, delivery.state
    );
    let rows = shown.attempts.into_iter().map(|attempt| {
        [
            attempt.number.to_string(),
            attempt.started_at.to_rfc3339(),
            attempt.address.unwrap_or_default(),
            attempt
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            attempt.reason.unwrap_or_default(),
        ]
    });
    head + &output::table(["try", "began", "address", "status", "reason"], rows)
}

/// Replace what the callbacks of a project are signed with; the new secret is shown once.
#[derive(Args, Debug)]
pub(super) struct CallbackSecret {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    secrets: config::Secrets,
    /// The project's alias
    project: String,
    /// How long the present secret signs as well, in seconds
    #[arg(long, value_name = "SEC", default_value_t = 86400, value_parser = clap::value_parser!(u64).range(0..=2_592_000))]
    overlap_sec: u64,
}

impl CallbackSecret {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let keys = self.secrets.keyring().map_err(anyhow::Error::msg)?;
        let pool = database::open(&self.database.database_url, "orchestrator-callback-secret", 2).await?;
        let overlap = Duration::from_secs(self.overlap_sec);
        let caller = Caller::operator("cli");
        let rotated = callback_secrets::rotate(&pool, keys.as_ref(), &caller, &self.project, overlap).await?;
        output::text(&format!(
            "secret: {}\nIt is not shown again; give it to the receivers of the callbacks of {}.\n",
            rotated.secret.expose_secret(),
            self.project
        ))?;
        if let Some(until) = rotated.old_signs_until {
            output::text(&format!(
                "The one before signs as well until {}.\n",
                until.to_rfc3339()
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
