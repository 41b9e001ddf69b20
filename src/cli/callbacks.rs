//! What delivers callbacks, made from settings.

use std::sync::Arc;

use anyhow::Context as _;
use reqwest::Certificate;

use crate::config;
use crate::domain::seal::Keyring;
use crate::scheduler::deliver::{Call, Deliverer, System};
use crate::store::Pool;

/// What delivers; `None` when callbacks have to wait, and the log says for what.
pub(super) fn deliverer(
    pool: &Pool,
    keys: Option<Keyring>,
    settings: &config::Callbacks,
) -> anyhow::Result<Option<Deliverer>> {
    let authorities = match &settings.callback_ca_file {
        Some(path) => authorities(path).with_context(|| format!("CALLBACK_CA_FILE {}", path.display()))?,
        None => Vec::new(),
    };
    let Some(keys) = keys else {
        tracing::warn!("callbacks wait: SECRETS_KEY is not set, and without it nothing can be signed");
        return Ok(None);
    };
    let opened = settings.callback_allowed_ranges.clone();
    let call = Call::new(
        Arc::new(System),
        opened,
        settings.callback_timeout_sec,
        authorities,
    );
    Ok(match call {
        Ok(call) => Some(Deliverer::new(
            pool.clone(),
            keys,
            call,
            settings.callback_concurrency,
        )),
        Err(error) => {
            tracing::error!(error = %error, "callbacks wait");
            None
        }
    })
}

fn authorities(path: &std::path::Path) -> anyhow::Result<Vec<Certificate>> {
    let pem = std::fs::read(path)?;
    let found = Certificate::from_pem_bundle(&pem).context("is no bundle of certificates in PEM")?;
    anyhow::ensure!(!found.is_empty(), "holds no certificate in PEM");
    Ok(found)
}
