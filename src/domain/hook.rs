//! Hooks: who may send events to `/hooks/{name}`, which of them make a job, and which job that is.

use garde::Validate;
use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::name::is_name;
use super::problem::{self, Violation};
use super::signature::{Algorithm, Encoding, Generic, Provider, Scheme, TOLERANCE_SEC, standard};

pub mod event;
pub mod filter;
pub mod template;

mod arguments;
mod engine;

/// Most bytes of a template, written as JSON.
const MAX_TEMPLATE: usize = 256 * 1024;

/// A hook, as an administrator writes it down.
#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// What the address ends with: `POST /hooks/{name}`. Unique on this server.
    #[garde(custom(name_shape))]
    #[schema(example = "deploy", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub name: String,
    /// Alias of the project its jobs belong to.
    #[garde(custom(name_shape))]
    #[schema(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub project_id: String,
    /// Who sends, and so how it is signed.
    #[garde(skip)]
    pub provider: Provider,
    /// Whether events are taken in. A paused hook answers 503, so that senders keep what they have.
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
    /// Where signature, event and delivery id lie. Most providers leave nothing to say here.
    #[garde(dive, custom(options_of(self.provider)))]
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
    /// Which events make a job.
    #[garde(dive, custom(filter_of(self.provider)))]
    #[serde(default)]
    pub filter: Filter,
    /// The job, as for `POST /api/v1/jobs` without `project_id`. Each text in it may hold
    /// `{{ expressions }}` over `payload`, `event`, `action`, `branch` and `delivery_id`. What they
    /// yield stays one text: never two arguments, never more JSON.
    #[garde(skip)]
    #[schema(value_type = Object, example = json!({"goal": "Deploy {{ payload.after }}", "steps": [{"step_id": "deploy", "argv": ["./deploy", "--", "{{ branch }}"]}]}))]
    pub template: Map<String, Value>,
    /// What the sender signs with, 8–512 printable ASCII characters; only when the hook is made, and never
    /// shown again. Left out, one is made and shown once. Stripe's is the one that Stripe shows.
    #[garde(custom(secret_of(self.provider)))]
    #[serde(default, skip_serializing_if = "always", serialize_with = "nothing")]
    #[schema(value_type = Option<String>, write_only, min_length = 8, max_length = 512)]
    pub secret: Option<SecretString>,
}

/// Secrets are read and never written. Not `skip_serializing`: the document would not know the field.
fn always(_: &Option<SecretString>) -> bool {
    true
}

fn nothing<S: Serializer>(_: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_none()
}

/// Which events make a job: those that pass all of these. What is left out lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Names of events with `*` and `?`, as `push`, `pull_request.opened`, `checkout.session.*`.
    #[garde(length(max = 100), inner(length(chars, min = 1, max = 128), custom(glob)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["push"]))]
    pub events: Vec<String>,
    /// Branches, as `main` or `release/*`; `**` also crosses slashes. For GitHub and GitLab: the branch
    /// pushed to, or the one a pull or merge request goes to.
    #[garde(length(max = 100), inner(length(chars, min = 1, max = 255), custom(glob)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, example = json!(["main"]))]
    pub branches: Vec<String>,
    /// An expression that must hold, over the same names as the template.
    #[garde(inner(length(chars, min = 1, max = 4000)), custom(expression))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 4000,
        example = "not payload.deleted and payload.commits|length > 0"
    )]
    pub when: Option<String>,
}

/// What a provider leaves open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `hmac`: the header with the signature.
    #[garde(custom(header_name))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = "X-Signature", pattern = "^[0-9A-Za-z_-]{1,64}$")]
    pub signature_header: Option<String>,
    /// `hmac`: what the header begins with before the signature.
    #[garde(inner(length(chars, max = 32)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 32, example = "sha256=")]
    pub signature_prefix: Option<String>,
    /// `hmac`: how the signature is written.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// `hmac`: the hash.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// `hmac`: a header with the time in seconds since 1970; `time.body` is signed then, and what is
    /// older than the tolerance refused.
    #[garde(custom(header_name))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Za-z_-]{1,64}$")]
    pub timestamp_header: Option<String>,
    /// How far a signed time may be from now, in seconds.
    #[garde(inner(range(min = 1, max = 3600)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600, default = 300)]
    pub tolerance_sec: Option<u32>,
    /// `hmac` and `bearer`: a header with the event's name; without it, `type` or `event` of the payload.
    #[garde(custom(header_name))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Za-z_-]{1,64}$")]
    pub event_header: Option<String>,
    /// `hmac` and `bearer`: a header with the delivery's id, under which a repeat is recognised.
    #[garde(custom(header_name))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = "Idempotency-Key", pattern = "^[0-9A-Za-z_-]{1,64}$")]
    pub delivery_header: Option<String>,
}

impl Options {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How far a signed time may be from now.
    #[must_use]
    pub fn tolerance(&self) -> u32 {
        self.tolerance_sec.unwrap_or(TOLERANCE_SEC)
    }

    /// Where a signature of [`Provider::Hmac`] lies.
    #[must_use]
    pub fn generic(&self) -> Generic {
        let default = Generic::default();
        Generic {
            header: self.signature_header.clone().unwrap_or(default.header),
            prefix: self.signature_prefix.clone().unwrap_or(default.prefix),
            encoding: self.encoding.unwrap_or_default(),
            algorithm: self.algorithm.unwrap_or_default(),
            timestamp_header: self.timestamp_header.clone(),
        }
    }
}

impl HookSpec {
    /// Reads and checks a hook.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        let spec: Self = problem::read_json(json).map_err(|violation| vec![violation])?;
        spec.checked()
    }

    /// Checks a hook that was made in another way.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn checked(self) -> Result<Self, Vec<Violation>> {
        let mut wrong = match self.validate() {
            Ok(()) => Vec::new(),
            Err(report) => problem::violations(&report),
        };
        let size = serde_json::to_vec(&self.template).map_or(0, |json| json.len());
        match size > MAX_TEMPLATE {
            true => wrong.push(Violation::new(
                "template",
                format!("is longer than {MAX_TEMPLATE} bytes"),
            )),
            false => wrong.extend(template::check(&self.template, &self.project_id)),
        }
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    /// How its requests are signed; `generic` is its [`Options::generic`].
    #[must_use]
    pub fn scheme<'a>(&self, generic: &'a Generic) -> Scheme<'a> {
        Scheme {
            provider: self.provider,
            tolerance_sec: self.options.tolerance(),
            generic,
        }
    }
}

/// Whether `secret` can be the secret of a hook of `provider`.
///
/// # Errors
///
/// What is allowed.
pub fn check_secret(provider: Provider, secret: &str) -> Result<(), &'static str> {
    if !(8..=512).contains(&secret.len()) || !secret.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err("must be 8 to 512 printable ASCII characters");
    }
    let signs =
        provider == Provider::Standard || (provider == Provider::Gitlab && standard::is_secret(secret));
    match signs && !standard::is_whole_secret(secret) {
        true => Err("must be `whsec_` and 24 to 64 bytes in base64, as the sender shows it"),
        false => Ok(()),
    }
}

/// Makes a secret of the kind that the sender takes.
#[must_use]
pub fn generate_secret(provider: Provider) -> SecretString {
    if provider == Provider::Standard {
        return standard::generate();
    }
    let bytes: [u8; 32] = rand::rng().random();
    SecretString::from(hex::encode(bytes))
}

fn yes() -> bool {
    true
}

fn refuse(reason: impl Into<String>) -> garde::Result {
    Err(garde::Error::new(reason.into()))
}

fn name_shape(name: &str, (): &()) -> garde::Result {
    match is_name(name) {
        true => Ok(()),
        false => refuse("must be 1–128 letters, digits, `.`, `_` or `-`, and begin with a letter or digit"),
    }
}

fn glob(pattern: &str, (): &()) -> garde::Result {
    match fast_glob::validate(pattern) {
        Ok(()) => Ok(()),
        Err(_) => refuse("is no pattern: `*`, `**`, `?`, `[…]` and `{a,b}` have a meaning"),
    }
}

fn expression(when: &Option<String>, (): &()) -> garde::Result {
    match when.as_deref().map(engine::check_expression) {
        Some(Err(why)) => refuse(why),
        _ => Ok(()),
    }
}

fn header_name(name: &Option<String>, (): &()) -> garde::Result {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match name.as_deref() {
        Some(name) if !(1..=64).contains(&name.len()) || !name.bytes().all(is_token) => {
            refuse("is no name of a header: 1–64 letters, digits, `-` or `_`")
        }
        _ => Ok(()),
    }
}

fn secret_of(provider: Provider) -> impl FnOnce(&Option<SecretString>, &()) -> garde::Result {
    move |secret, ()| match secret
        .as_ref()
        .map(|secret| check_secret(provider, secret.expose_secret()))
    {
        Some(Err(why)) => refuse(why),
        _ => Ok(()),
    }
}

fn options_of(provider: Provider) -> impl FnOnce(&Options, &()) -> garde::Result {
    move |options, ()| {
        let hmac = provider == Provider::Hmac;
        let own = hmac || provider == Provider::Bearer;
        let timed = options.timestamp_header.is_some()
            || matches!(provider, Provider::Stripe | Provider::Standard | Provider::Gitlab);
        let misplaced = [
            ("signature_header", options.signature_header.is_some(), hmac),
            ("signature_prefix", options.signature_prefix.is_some(), hmac),
            ("encoding", options.encoding.is_some(), hmac),
            ("algorithm", options.algorithm.is_some(), hmac),
            ("timestamp_header", options.timestamp_header.is_some(), hmac),
            ("tolerance_sec", options.tolerance_sec.is_some(), timed),
            ("event_header", options.event_header.is_some(), own),
            ("delivery_header", options.delivery_header.is_some(), own),
        ];
        match misplaced.into_iter().find(|(_, set, fits)| *set && !fits) {
            Some((name, ..)) => refuse(format!("{name} has no meaning for {provider}; leave it out")),
            None => Ok(()),
        }
    }
}

fn filter_of(provider: Provider) -> impl FnOnce(&Filter, &()) -> garde::Result {
    move |filter, ()| match provider {
        Provider::Stripe | Provider::Standard if !filter.branches.is_empty() => refuse(format!(
            "branches have no meaning for {provider}; use events and when"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
