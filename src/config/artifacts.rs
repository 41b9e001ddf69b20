//! Where what jobs leave behind is kept.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;

use super::value::Secretly;

/// A directory or a bucket.
#[derive(Args, Clone, Debug)]
#[group(id = "artifact_settings")]
pub struct Artifacts {
    /// Where artifacts are kept, unless there is a bucket for them
    #[arg(
        long,
        env = "ARTIFACTS_ROOT",
        value_name = "DIR",
        default_value = "/var/lib/orchestrator/artifacts"
    )]
    pub artifacts_root: PathBuf,
    /// Bucket to keep artifacts in instead, of any server that speaks S3
    #[arg(long, env = "ARTIFACTS_S3_BUCKET", value_name = "NAME")]
    pub artifacts_s3_bucket: Option<String>,
    /// What the names of all objects in the bucket begin with
    #[arg(
        long,
        env = "ARTIFACTS_S3_PREFIX",
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub artifacts_s3_prefix: String,
    /// Where the server of the bucket is, unless it is Amazon's, as https://s3.example.com
    #[arg(long, env = "ARTIFACTS_S3_ENDPOINT", value_name = "URL")]
    pub artifacts_s3_endpoint: Option<url::Url>,
    /// Region of the bucket
    #[arg(
        long,
        env = "ARTIFACTS_S3_REGION",
        value_name = "REGION",
        default_value = "us-east-1"
    )]
    pub artifacts_s3_region: String,
    /// Id of the key for the bucket; without it, the role of the machine counts
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID")]
    pub aws_access_key_id: Option<String>,
    /// The key itself
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "KEY", value_parser = Secretly(parse_secret))]
    pub aws_secret_access_key: Option<SecretString>,
    /// What goes with a key that was lent for a time
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = Secretly(parse_secret))]
    pub aws_session_token: Option<SecretString>,
}

impl Artifacts {
    /// The same, below a directory of its own where no bucket is named.
    #[must_use]
    pub fn below(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.artifacts_root);
        self
    }
}

fn parse_secret(text: &str) -> Result<SecretString, String> {
    match text.trim() {
        "" => Err("is empty; leave it out, or write a key".to_owned()),
        text => Ok(SecretString::from(text.to_owned())),
    }
}
