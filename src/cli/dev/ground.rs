//! What `dev` stands on: a database that is migrated, a first token, a first project.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::app::environment;
use crate::cli::database;
use crate::config::Host;
use crate::domain::environment::{Alias, DatabaseUrl};
use crate::domain::seal::Keyring;
use crate::domain::token;
use crate::postgres::{Cluster, Hold, Keep, Programs};
use crate::store;

/// The name of the private cluster's database.
const DATABASE: &str = "orchestrator";

/// A prepared place to run on.
pub(super) struct Ground {
    pub(super) data_dir: PathBuf,
    pub(super) database_url: DatabaseUrl,
    pub(super) token: SecretString,
    pub(super) keys: Keyring,
    cluster: Option<Cluster>,
    hold: Hold,
}

impl Ground {
    /// Makes or finds everything below `data_dir`; with `given`, uses that server.
    pub(super) async fn prepare(
        data_dir: Option<PathBuf>,
        given: Option<DatabaseUrl>,
    ) -> anyhow::Result<Self> {
        let host = Host::read();
        let data_dir = data_dir.map_or_else(|| default_data_dir(&host), Ok)?;
        fs::create_dir_all(&data_dir)
            .with_context(|| format!("cannot make {}; choose --data-dir", data_dir.display()))?;
        let data_dir = data_dir.canonicalize()?;
        let hold = Hold::take(&data_dir)?;
        let (cluster, database_url) = match given {
            Some(url) => {
                // Before anything is written there.
                database::reach(&url, "orchestrator-dev", 2).await?.close().await;
                (None, url)
            }
            None => {
                let (cluster, url) = private(&host, &hold)?;
                (Some(cluster), url)
            }
        };
        let token = kept_token(&data_dir.join("token"))?;
        let keys = kept_keys(&data_dir.join("secrets.key"))?;
        let ground = Self {
            data_dir,
            database_url,
            token,
            keys,
            cluster,
            hold,
        };
        ground.furnish().await?;
        Ok(ground)
    }

    /// Migrates and makes the first project and token.
    async fn furnish(&self) -> anyhow::Result<()> {
        store::migrate::migrate(&self.database_url)
            .await
            .context("the schema was not migrated")?;
        let directory = self.data_dir.join("demo");
        fs::create_dir_all(&directory)?;
        let pool = store::database::pool(&self.database_url, "orchestrator-dev", 1)?;
        let alias = Alias {
            alias: "demo".into(),
            directory: directory.to_string_lossy().into_owned(),
        };
        environment::first_project_and_token(&pool, &alias, &self.token).await?;
        pool.close().await;
        Ok(())
    }

    /// Where jobs get their workspaces.
    pub(super) fn workspaces(&self) -> PathBuf {
        self.data_dir.join("workspaces")
    }

    /// Where what they leave behind is kept.
    pub(super) fn artifacts(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// Stops the private server, if there is one, and lets the directory go.
    pub(super) async fn leave(self) {
        let Some(cluster) = self.cluster else { return };
        let stopped = tokio::task::spawn_blocking(move || cluster.stop()).await;
        if let Err(error) = stopped
            .map_err(anyhow::Error::from)
            .and_then(|stopped| Ok(stopped?))
        {
            tracing::error!(error = %error, "the private PostgreSQL did not stop in order; it recovers at the next start");
        }
        drop(self.hold);
    }
}

/// Starts the private server. It blocks, which disturbs nobody: nothing else runs yet.
fn private(host: &Host, hold: &Hold) -> anyhow::Result<(Cluster, DatabaseUrl)> {
    let programs = Programs::find(host.pg_bin.as_deref(), host.path.as_deref())?;
    let cluster = Cluster::start(&programs, hold, Keep::Data)?;
    cluster.create_database(DATABASE)?;
    let url = cluster.url(DATABASE).parse()?;
    Ok((cluster, url))
}

/// The secret of the first token: the tables keep only its hash, so it is kept here, for its owner alone.
fn kept_token(path: &Path) -> anyhow::Result<SecretString> {
    if let Ok(secret) = fs::read_to_string(path) {
        let secret = secret.trim();
        anyhow::ensure!(
            token::is_whole(secret),
            "{} holds no whole token; delete it to get a new one",
            path.display()
        );
        return Ok(SecretString::from(secret.to_owned()));
    }
    let secret = token::generate();
    keep(path, &secret)?;
    Ok(secret)
}

/// The key that seals secrets, kept beside the tables that hold what it sealed.
fn kept_keys(path: &Path) -> anyhow::Result<Keyring> {
    if let Ok(text) = fs::read_to_string(path) {
        return text.parse().with_context(|| {
            format!(
                "{} holds no key, and without it the secrets of hooks are lost",
                path.display()
            )
        });
    }
    let key = Keyring::generate();
    keep(path, &key)?;
    Ok(key.expose_secret().parse()?)
}

/// Writes a secret for its owner's eyes alone.
fn keep(path: &Path, secret: &SecretString) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", secret.expose_secret())?;
    Ok(())
}

/// Root's home is closed to the users that PostgreSQL and the steps run as, so root's data lies
/// where system services keep theirs.
fn default_data_dir(host: &Host) -> anyhow::Result<PathBuf> {
    if host.is_root {
        return Ok(PathBuf::from("/var/lib/orchestrator/dev"));
    }
    let below_home = host.home.as_ref().map(|home| home.join(".local/share"));
    let base = host
        .data_home
        .clone()
        .or(below_home)
        .context("there is no HOME to keep data in; choose --data-dir DIR")?;
    Ok(base.join("orchestrator"))
}
