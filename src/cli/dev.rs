//! `orchestrator dev`: everything in one process, nothing to configure.

mod demo;
mod ground;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use self::ground::Ground;
use super::objects::objects;
use super::{api, callbacks, output, runner};
use crate::alive::Alive;
use crate::app::hint::Hints;
use crate::domain::environment::DatabaseUrl;
use crate::domain::seal::Keyring;
use crate::objects::Objects;
use crate::scheduler::deliver::Deliverer;
use crate::shutdown::Stop;
use crate::store::Pool;
use crate::{config, scheduler, store};

/// Runs a private PostgreSQL (unless DATABASE_URL names one), the API, the scheduler and runners,
/// with a first token and a project named demo. Ctrl-C stops it all; the data stays.
#[derive(Args, Debug)]
pub(super) struct Dev {
    /// Where the data lives [default: the user's data directory]
    #[arg(long, env = "ORCHESTRATOR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// PostgreSQL to use instead of a private one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = config::DATABASE_URL)]
    database_url: Option<DatabaseUrl>,
    /// How many runners
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=64))]
    runners: u16,
    #[command(flatten)]
    runner: config::Runner,
    #[command(flatten)]
    api: config::Api,
    #[command(flatten)]
    scheduler: config::Scheduler,
    #[command(flatten)]
    secrets: config::Secrets,
    #[command(flatten)]
    callbacks: config::Callbacks,
    #[command(flatten)]
    retention: config::Retention,
    #[command(flatten)]
    pub(super) traces: config::Traces,
    #[command(flatten)]
    artifacts: config::Artifacts,
    /// Post a sample job through the webhook, follow it to its end, and keep serving
    #[arg(long)]
    demo: bool,
    /// When ready, print one JSON object on standard output instead of text
    #[arg(long)]
    json: bool,
}

/// Connections that all runners share.
const RUNNERS_CONNECTIONS: u32 = 16;

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Stop::on_signals(|| ())?;
        // First, because it is what fails most often and costs nothing to find out.
        let listener = api::listen(&self.api).await?;
        let ground = Ground::prepare(self.data_dir.clone(), self.database_url.clone()).await?;
        let served = self.serve(&ground, listener, &stop).await;
        ground.leave().await;
        served.map(|()| ExitCode::SUCCESS)
    }

    /// Everything between a prepared ground and the order to stop.
    async fn serve(&self, ground: &Ground, listener: TcpListener, stop: &Stop) -> anyhow::Result<()> {
        let url = format!("http://{}", listener.local_addr()?);
        let pool = store::database::pool(&ground.database_url, "orchestrator-dev", 32)?;
        let hints = Hints::start(pool.clone());
        // Stopped in this order: runners hand back what they hold, the scheduler ends, the API last.
        let (working, serving) = (Stop::default(), Stop::default());
        let keys = self.secrets.keyring().map_err(anyhow::Error::msg)?;
        let keys = keys.unwrap_or_else(|| ground.keys.clone());
        let work = self.work(ground, &pool, &hints, &keys, &working).await?;
        let api = tokio::spawn({
            let (pool, hints, mut settings, serving) =
                (pool.clone(), hints.clone(), self.api.clone(), serving.clone());
            // Whoever develops is the only caller.
            settings.webhook_rate_limit_max_requests.get_or_insert(0);
            let objects = self.objects(ground)?;
            async move { api::serve(listener, pool, hints, &settings, Some(keys), objects, serving).await }
        });
        self.announce(ground, &url)?;
        if self.demo {
            stop.soft
                .run_until_cancelled(demo::run(&pool, &url, &ground.token))
                .await
                .transpose()?;
        }
        stop.soft.cancelled().await;
        working.soft.cancel();
        tokio::select! { () = work.wait() => {} () = stop.hard.cancelled() => { working.hard(); work.wait().await } }
        serving.hard();
        api.await.context("the API ended badly")??;
        pool.close().await;
        Ok(())
    }

    async fn work(
        &self,
        ground: &Ground,
        pool: &Pool,
        hints: &Hints,
        keys: &Keyring,
        stop: &Stop,
    ) -> anyhow::Result<TaskTracker> {
        let work = TaskTracker::new();
        let keyed = store::database::keyed(&ground.database_url, "orchestrator-dev", RUNNERS_CONNECTIONS)?;
        let objects = self.objects(ground)?;
        for number in 1..=self.runners {
            let mut settings =
                runner::settings(&self.runner, ground.workspaces(), objects.clone(), true).await?;
            settings.instance = format!("dev-{number}");
            work.spawn(crate::runner::run(
                settings,
                keyed.clone(),
                ground.database_url.clone(),
                stop.clone(),
            ));
        }
        let every = self.scheduler.scheduler_tick_sec;
        let alive = Alive::default();
        let deliverer = callbacks::deliverer(pool, Some(keys.clone()), &self.callbacks)?;
        work.spawn(scheduler::run(
            pool.clone(),
            hints.clone(),
            every,
            deliverer.as_ref().map(Deliverer::due),
            alive,
            stop.clone(),
        ));
        work.spawn(scheduler::upkeep::run(
            pool.clone(),
            objects,
            self.retention.into(),
            stop.clone(),
        ));
        if let Some(deliverer) = deliverer {
            work.spawn(deliverer.run(stop.clone()));
        }
        work.close();
        Ok(work)
    }

    /// Where artifacts are kept: beside everything else, unless there is a bucket.
    fn objects(&self, ground: &Ground) -> anyhow::Result<Objects> {
        objects(&self.artifacts.clone().below(&ground.artifacts()))
    }

    fn announce(&self, ground: &Ground, url: &str) -> anyhow::Result<()> {
        let token = ground.token.expose_secret();
        if self.json {
            return output::json(&json!({
                "api_url": url, "docs_url": format!("{url}/docs"), "token": token,
                "database_url": ground.database_url.expose(),
            }));
        }
        let data = ground.data_dir.display();
        let database = ground.database_url.expose();
        output::text(&format!(
            r#"
orchestrator is ready
  API         {url}
  Swagger UI  {url}/docs
  token       {token}
  database    psql '{database}'
  data        {data}

Try it:
  curl -s {url}/webhook -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
    -d '{{"goal": "say hello", "project_id": "demo", "steps": [{{"step_id": "hello", "argv": ["echo", "hello"]}}]}}'

Ctrl-C stops everything; the data stays.
"#
        ))
    }
}
