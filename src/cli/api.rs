//! `orchestrator api`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;

use super::database;
use super::objects::objects;
use crate::alive::Alive;
use crate::app::authenticate::Tokens;
use crate::app::backoff::Backoff;
use crate::app::environment;
use crate::app::hint::Hints;
use crate::app::submit::together;
use crate::app::{idempotency, schema};
use crate::domain::seal::Keyring;
use crate::objects::Objects;
use crate::shutdown::Stop;
use crate::store::Pool;
use crate::{api, config, store, telemetry};

/// Serves until TERM or INT; running requests are finished first.
#[derive(Args, Debug)]
pub(super) struct Api {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    api: config::Api,
    #[command(flatten)]
    environment: config::Environment,
    #[command(flatten)]
    secrets: config::Secrets,
    #[command(flatten)]
    pub(super) traces: config::Traces,
    #[command(flatten)]
    artifacts: config::Artifacts,
}

/// How long the first look at what leads to the database may hold up the service.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Requests of one client, and of one token, in a window, when nobody says: a thousand a second for a minute,
/// a tenth of what a small host answers. Who floods it is held back, and nobody else notices.
const RATE_LIMIT: u32 = 60_000;

impl Api {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let alive = Alive::start();
        let stop = Stop::on_signals({
            let alive = alive.clone();
            move || alive.stopping(api::GRACE)
        })?;
        let pool = store::database::pool(
            &self.database.database_url,
            "orchestrator-api",
            self.database.database_max_connections,
        )?;
        let keys = self.secrets.keyring().map_err(anyhow::Error::msg)?;
        let listener = listen(&self.api).await?;
        // Nothing goes through before it is known; while there is no database to ask, callers are told that.
        let look = tokio::time::timeout(FIRST_LOOK, store::database::lends_connections(&pool));
        let lends = match stop.soft.run_until_cancelled(look).await {
            Some(Ok(Ok(lends))) => Some(lends),
            _ => None,
        };
        anyhow::ensure!(lends != Some(true), database::LENT);
        if lends.is_none() {
            pool.bar();
        }
        let hints = Hints::start(pool.clone());
        let address = listener.local_addr()?;
        tokio::spawn({
            let (pool, environment, stop) = (pool.clone(), self.environment, stop.clone());
            async move {
                alive.status("waiting for the database or its schema; the log says which");
                // Not ready before: a caller would be told that their token is none.
                synchronise(pool.clone(), environment, stop.clone()).await;
                api::pulse::tell(address, pool, alive, stop.soft).await;
            }
        });
        let looking = lends
            .is_none()
            .then(|| tokio::spawn(database::refuse_lent(pool.clone(), stop.clone())));
        let objects = objects(&self.artifacts)?;
        serve(listener, pool, hints, &self.api, keys, objects, stop).await?;
        if let Some(looking) = looking {
            looking.await??;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the address, or says what to do when it cannot be had.
pub(super) async fn listen(settings: &config::Api) -> anyhow::Result<TcpListener> {
    let address = settings.bind;
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another with --bind ADDR:PORT (port 0 takes a free one)")
    })
}

/// Serves the API on `listener` until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    pool: Pool,
    hints: Hints,
    settings: &config::Api,
    keys: Option<Keyring>,
    objects: Objects,
    stop: Stop,
) -> anyhow::Result<()> {
    let settings = limits(settings)?;
    let metrics = telemetry::metrics().context("metrics cannot be collected")?;
    tokio::spawn(telemetry::keep_up(metrics.clone()));
    tokio::spawn(idempotency::forget_old(pool.clone(), stop.soft.clone()));
    tracing::info!(http.address = %listener.local_addr()?, "API listening");
    let api = api::Api::of(api::Parts {
        tokens: Tokens::of(&pool),
        together: together(&pool, &hints),
        pool,
        hints,
        settings,
        keys,
        objects,
        metrics,
        looked: api::Looked::default(),
        stop: stop.soft.clone(),
    });
    api::serve(listener, api).await?;
    tracing::info!("API stopped");
    Ok(())
}

fn limits(settings: &config::Api) -> anyhow::Result<api::Settings> {
    let origins = &settings.cors_allowed_origins.0;
    let cors = match origins.as_slice() {
        [] => api::Cors::Off,
        some if some.iter().any(|origin| origin == "*") => api::Cors::Any,
        some => api::Cors::Origins(
            some.iter()
                .map(|origin| origin.parse())
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(api::Settings {
        max_body_bytes: usize::try_from(settings.max_webhook_body_bytes)?,
        public_url: settings.public_url.clone(),
        rate_most: settings.webhook_rate_limit_max_requests.unwrap_or(RATE_LIMIT),
        rate_window: settings.webhook_rate_limit_window_sec,
        trusted_proxies: settings.trusted_proxies.0.clone(),
        cors,
        max_requests: usize::try_from(settings.api_max_requests)?,
        max_streams: usize::try_from(settings.api_max_streams)?,
        max_connections: usize::try_from(settings.api_max_connections)?,
    })
}

/// Brings the environment's projects and tokens into the tables, as soon as the database is there.
async fn synchronise(pool: Pool, environment: config::Environment, stop: Stop) {
    let config::Environment {
        project_aliases,
        webhook_tokens,
    } = environment;
    let mut pause = Backoff::default();
    while schema::wait(&pool, &stop.soft).await {
        match environment::synchronise(&pool, &project_aliases.0, &webhook_tokens.0).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = %error, "PROJECT_ALIASES and WEBHOOK_TOKENS are not in the tables yet");
            }
        }
        pause.wait(&stop.soft).await;
    }
}
