//! PostgreSQL goes away under running services, and comes back.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orchestrator::postgres::{Cluster, Hold, Keep};
use orchestrator::store::{Pool, database as pools, project};
use reqwest::{Client, Response};
use serde_json::json;

use crate::support::{Program, Scratch, ask, programs, scratch, until};

const TOKEN: &str = "a-token-of-the-environment";

/// A server of its own, an API and a runner on it.
struct Outage {
    directory: Scratch,
    hold: Hold,
    cluster: Option<Cluster>,
    services: Vec<Program>,
    api: String,
    http: Client,
}

impl Outage {
    async fn begin() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = scratch();
        let hold = Hold::take(&directory).unwrap();
        let cluster = Cluster::start(&programs(), &hold, Keep::Data).unwrap();
        cluster.create_database("orchestrator").unwrap();
        let url = cluster.url("orchestrator");
        let workspaces = directory.join("workspaces");
        let project = directory.join("project");
        fs::create_dir(&project).unwrap();
        let aliases = format!("demo={}", project.display());
        let environment = [
            ("DATABASE_URL", url.as_str()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("PROJECT_ALIASES", &aliases),
            ("WEBHOOK_TOKENS", &format!("{TOKEN}=demo")),
            ("RUNNER_RECLAIM_AFTER_SEC", "60"),
            ("SANDBOX", "off"),
        ];
        assert!(Program::start(&["migrate"], &environment).end().success());
        let mut api = Program::start(&["api", "--bind", "127.0.0.1:0"], &environment);
        let said = api.hear("http.address=");
        let address = said.split("http.address=").nth(1).unwrap().trim().to_owned();
        let mut runner = Program::start(&["runner"], &environment);
        runner.hear("runner session open");
        let outage = Self {
            directory,
            hold,
            cluster: Some(cluster),
            services: vec![api, runner],
            api: format!("http://{address}"),
            http: Client::new(),
        };
        until(async || (outage.get("/health/ready").await.status() == 200).then_some(())).await;
        let pool = outage.pool();
        until(async || project::by_alias(&pool, "demo").await.unwrap()).await;
        pool.close().await;
        outage
    }

    fn pool(&self) -> Pool {
        let url = self.cluster.as_ref().unwrap().url("orchestrator");
        pools::pool(&url.parse().unwrap(), "test", 2).unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.api)).send().await.unwrap()
    }

    async fn post(&self, argv: &[&str]) -> Response {
        let body = json!({ "goal": "g", "project_id": "demo", "steps": [{ "step_id": "a", "argv": argv }] });
        let request = self.http.post(format!("{}/webhook", self.api)).bearer_auth(TOKEN);
        request.json(&body).send().await.unwrap()
    }

    fn kill_server(&mut self) {
        let pid = fs::read_to_string(self.directory.join("postgres/data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        assert!(self.cluster.take().unwrap().stop().is_err());
    }

    fn start_server(&mut self) {
        self.cluster = Some(Cluster::start(&programs(), &self.hold, Keep::Data).unwrap());
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.services.clear();
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost_when_postgresql_is_killed_and_services_come_back_by_themselves() {
    let mut outage = Outage::begin().await;
    let go = outage.directory.join("go");
    let wait = "i=0; while [ ! -e \"$0\" ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done";
    assert_eq!(
        outage
            .post(&["sh", "-c", wait, go.to_str().unwrap()])
            .await
            .status(),
        202
    );
    let pool = outage.pool();
    until(async || {
        (ask(&pool, "select count(*) from job where state = 'running'").await == "1").then_some(())
    })
    .await;
    assert_eq!(outage.post(&["true"]).await.status(), 202);
    pool.close().await;

    outage.kill_server();
    let refused = outage.post(&["true"]).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "database_unavailable", "{problem}");
    assert_eq!(outage.get("/health/ready").await.status(), 503);
    assert_eq!(outage.get("/health/live").await.status(), 200);

    // The step ends while there is nobody to tell.
    fs::write(&go, "").unwrap();
    outage.start_server();
    until(async || (outage.get("/health/ready").await.status() == 200).then_some(())).await;
    assert_eq!(outage.post(&["true"]).await.status(), 202);
    let pool = outage.pool();
    until(async || {
        (ask(&pool, "select count(*) from job where state = 'succeeded'").await == "3").then_some(())
    })
    .await;
    // Its runner went on: no attempt was lost.
    assert_eq!(
        ask(&pool, "select string_agg(outcome, ' ') from attempt").await,
        "succeeded succeeded succeeded"
    );
    pool.close().await;
}
