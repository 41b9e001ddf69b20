//! Where artifacts are kept, as the settings say.

use anyhow::Context as _;

use crate::config::Artifacts;
use crate::objects::{Bucket, Credentials, Objects};

/// The directory or the bucket.
pub(super) fn objects(from: &Artifacts) -> anyhow::Result<Objects> {
    let Some(name) = from
        .artifacts_s3_bucket
        .as_deref()
        .filter(|name| !name.is_empty())
    else {
        return Ok(Objects::directory(&from.artifacts_root));
    };
    let credentials = match (&from.aws_access_key_id, &from.aws_secret_access_key) {
        (Some(id), Some(secret)) => Some(Credentials {
            id: id.clone(),
            secret: secret.clone(),
            token: from.aws_session_token.clone(),
        }),
        (None, None) => None,
        _ => anyhow::bail!(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; set both, or none of them"
        ),
    };
    let bucket = Bucket {
        name: name.to_owned(),
        prefix: from.artifacts_s3_prefix.clone(),
        endpoint: from
            .artifacts_s3_endpoint
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned()),
        region: from.artifacts_s3_region.clone(),
        credentials,
    };
    Objects::bucket(&bucket).context("ARTIFACTS_S3_BUCKET cannot be used")
}
