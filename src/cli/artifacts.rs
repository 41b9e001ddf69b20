//! `orchestrator artifacts ID [PATH]`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::objects::objects;
use super::{database, output};
use crate::app::lease::key;
use crate::domain::id::JobId;
use crate::store::artifact::{self, Artifact};
use crate::{config, store};

/// Lists what a job left behind, or prints one of its artifacts.
#[derive(Args, Debug)]
pub(super) struct Artifacts {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    artifacts: config::Artifacts,
    /// The job's id
    id: JobId,
    /// The artifact to print, as patch.diff or steps/build/logs.txt
    path: Option<String>,
    /// Write it to this file, which must not be there, instead of printing it
    #[arg(short, long, value_name = "FILE", requires = "path")]
    output: Option<PathBuf>,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "path")]
    json: bool,
}

impl Artifacts {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let pool = database::open(&self.database.database_url, "orchestrator-artifacts", 1).await?;
        if store::job::standing(&pool, self.id, None).await?.is_none() {
            bail!("there is no job {}", self.id);
        }
        match &self.path {
            None => self.list(&artifact::of_job(&pool, self.id).await?)?,
            Some(path) => {
                if artifact::find(&pool, self.id, path).await?.is_none() {
                    bail!(
                        "job {} has no artifact {path}; without a path they are listed",
                        self.id
                    );
                }
                self.print(path).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self, artifacts: &[Artifact]) -> anyhow::Result<()> {
        if self.json {
            let items: Vec<_> = artifacts
                .iter()
                .map(|artifact| {
                    json!({
                        "path": artifact.path, "size": artifact.size, "sha256": hex::encode(&artifact.sha256),
                        "media_type": artifact.media_type, "attempt": artifact.attempt,
                        "created_at": artifact.created_at,
                    })
                })
                .collect();
            return output::json(&items);
        }
        let rows = artifacts.iter().map(|artifact| {
            [
                artifact.path.clone(),
                artifact.size.to_string(),
                hex::encode(&artifact.sha256[..6.min(artifact.sha256.len())]),
                artifact.attempt.to_string(),
            ]
        });
        output::text(&output::table(["path", "bytes", "sha256", "attempt"], rows))
    }

    async fn print(&self, path: &str) -> anyhow::Result<()> {
        let opened = objects(&self.artifacts)?.open(&key(self.id, path), None).await?;
        let opened = opened.context("it is not where artifacts are kept; are ARTIFACTS_ROOT or ARTIFACTS_S3_BUCKET those of the runners?")?;
        let mut bytes = opened.bytes;
        match &self.output {
            None => {
                while let Some(piece) = bytes.try_next().await? {
                    output::bytes(&piece)?;
                }
            }
            Some(file) => {
                let made = tokio::fs::File::create_new(file).await;
                let mut out = made.with_context(|| format!("cannot make {}", file.display()))?;
                while let Some(piece) = bytes.try_next().await? {
                    out.write_all(&piece).await?;
                }
                out.sync_all().await?;
            }
        }
        Ok(())
    }
}
