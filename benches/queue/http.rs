//! An API to be measured, and what it is sent.

use orchestrator::store::{Pool, project};
use serde_json::json;

use super::support::client::Connection;
use super::support::{Database, Service};

/// A token of the environment.
pub(super) const TOKEN: &str = "a-token-of-the-environment";

/// An API of its own process.
pub(super) struct Api {
    pub(super) service: Service,
    pub(super) address: String,
}

impl Api {
    /// Starts one, and waits until it knows its token.
    pub(super) async fn start(database: &Database, pool: &Pool) -> Self {
        let tokens = format!("{TOKEN}=bench");
        // Where it was made: an alias of the environment moves the project.
        let alias = format!("bench={}", database.project().display());
        let environment = [
            ("WEBHOOK_TOKENS", tokens.as_str()),
            ("PROJECT_ALIASES", alias.as_str()),
            ("WEBHOOK_RATE_LIMIT_MAX_REQUESTS", "0"),
        ];
        let mut service = database.service(&["api", "--bind", "127.0.0.1:0"], &environment);
        let said = service.hear("http.address=");
        let address = said.split("http.address=").nth(1).unwrap().trim().to_owned();
        let api = Self { service, address };
        assert!(project::by_alias(pool, "bench").await.unwrap().is_some());
        let body = body(&json!({ "step_id": "a", "agent": "noop" }));
        while !post(&mut api.connect().await, &body).await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        api
    }

    pub(super) async fn connect(&self) -> Connection {
        Connection::open(&self.address, TOKEN).await
    }
}

/// Sends a webhook; whether it was accepted.
pub(super) async fn post(connection: &mut Connection, body: &str) -> bool {
    let (status, _) = connection.post("/webhook", body).await;
    status == 202
}

/// A webhook with one step.
pub(super) fn body(step: &serde_json::Value) -> String {
    json!({ "goal": "measure", "project_id": "bench", "steps": [step] }).to_string()
}
