//! Callbacks on their way: real servers on loopback, a real outbox, and names that a table answers for.

mod addresses;
mod answers;
pub(crate) mod receiver;
mod retries;
mod secrets;
mod service;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestrator::app::authenticate::Caller;
use orchestrator::app::control::cancel;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit;
use orchestrator::domain::address::{Opened, read_ranges};
use orchestrator::domain::id::DeliveryId;
use orchestrator::domain::seal::Keyring;
use orchestrator::domain::spec::JobSpec;
use orchestrator::scheduler::deliver::{Call, Deliverer, Table};
use orchestrator::store::{Pool, project};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::{Database, ask, database};

/// Tables with one project, a key, and what was sent for them.
struct Outbox {
    pool: Pool,
    keys: Keyring,
    operator: Caller,
    database: Database,
}

impl Outbox {
    async fn new() -> Self {
        // The client insists on a provider; the first one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = database().await;
        let pool = database.pool();
        project::put(&pool, "demo", "/srv/demo", "administrator")
            .await
            .unwrap();
        Self {
            pool,
            keys: Keyring::generate().expose_secret().parse().unwrap(),
            operator: Caller::operator("test"),
            database,
        }
    }

    /// Ends a job that calls `url` back.
    async fn ended(&self, url: &str) -> DeliveryId {
        let spec = json!({ "goal": "g", "project_id": "demo", "callback_url": url,
                           "steps": [{ "step_id": "a", "argv": ["true"] }] });
        let spec = JobSpec::read(spec.to_string().as_bytes()).unwrap();
        let hints = Hints::default();
        let job = submit::submit(&self.pool, &hints, &self.operator, &spec)
            .await
            .unwrap()
            .job;
        cancel(&self.pool, &hints, &self.operator, job).await.unwrap();
        let id = ask(
            &self.pool,
            &format!("select id from delivery where job_id = '{job}'"),
        )
        .await;
        id.parse().unwrap()
    }

    fn deliverer(&self, opened: &str, names: &[(&str, &[&str])]) -> Deliverer {
        self.deliverer_by(call(opened, names))
    }

    fn deliverer_by(&self, call: Call) -> Deliverer {
        Deliverer::new(self.pool.clone(), self.keys.clone(), call, 8)
    }

    async fn state(&self, id: DeliveryId) -> String {
        self.column(id, "state").await
    }

    async fn column(&self, id: DeliveryId, column: &str) -> String {
        ask(
            &self.pool,
            &format!("select {column} from delivery where id = '{id}'"),
        )
        .await
    }

    async fn attempt(&self, id: DeliveryId, column: &str) -> String {
        let question = format!(
            "select {column} from delivery_attempt where delivery_id = '{id}' order by number desc limit 1"
        );
        ask(&self.pool, &question).await
    }
}

fn opened(ranges: &str) -> Opened {
    read_ranges(ranges).unwrap()
}

fn table(names: &[(&str, &[&str])]) -> Table {
    let addresses = |addresses: &[&str]| -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    };
    Table(
        names
            .iter()
            .map(|(name, list)| ((*name).to_owned(), addresses(list)))
            .collect(),
    )
}

/// A call whose time-out no test waits for.
fn call(ranges: &str, names: &[(&str, &[&str])]) -> Call {
    Call::new(
        Arc::new(table(names)),
        opened(ranges),
        Duration::from_secs(60),
        Vec::new(),
    )
    .unwrap()
}
