//! An event that comes in at a hook: whose it is, whether it makes a job, and which.
//!
//! The row that says what became of it and the job it made are one transaction. The answer follows the
//! commit: what was answered with 2xx is either a job in the table or was said to be none.

use secrecy::SecretString;
use serde_json::Value;

use super::hint::Hints;
use super::hooks::owner;
use super::submit;
use crate::domain::hook::event::{Incoming, Outcome};
use crate::domain::hook::{filter, template};
use crate::domain::id::{HookDeliveryId, JobId};
use crate::domain::problem::Violation;
use crate::domain::seal::{Keyring, Shut};
use crate::domain::signature::{self, Headers, Provider, Refused};
use crate::domain::spec::JobSpec;
use crate::domain::trace::TraceParent;
use crate::store::hook::{self, Hook};
use crate::store::hook_delivery::{self, Arrived};
use crate::store::insert::NewJob;
use crate::store::{self, Pool};

/// Longest reason that is kept, in characters.
const LONGEST: usize = 1000;

/// A request at a hook.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The hook its address names.
    pub name: &'a str,
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body, as it came.
    pub body: &'a [u8],
    /// When it came, in seconds since 1970.
    pub at: i64,
    /// In whose trace its sender asks.
    pub trace: Option<TraceParent>,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It made a job.
    Accepted(JobId),
    /// Its job was there.
    Repeated(JobId),
    /// It makes none, and why.
    Ignored(String),
    /// The sender only asked.
    Ping,
}

/// Why an event was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has made such a hook.
    #[error("there is no hook named {0:?}")]
    Unknown(String),
    /// An administrator paused it.
    #[error("this hook is paused; send the event again later")]
    Paused,
    /// The sender is not who the hook is for.
    #[error(transparent)]
    Signature(#[from] Refused),
    /// No job can be made of it.
    #[error("no job could be made of the event")]
    Failed(Vec<Violation>),
    /// The secret cannot be read here.
    #[error("SECRETS_KEY is not set, and without it no signature can be checked")]
    NoKey,
    /// The secret cannot be read here.
    #[error("the hook's secret {0}")]
    Shut(#[from] Shut),
    /// PostgreSQL refused or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Takes an event in.
///
/// # Errors
///
/// [`Error`]; no job was made then, and the sender does well to keep the event.
pub async fn receive(
    pool: &Pool,
    hints: &Hints,
    keys: Option<&Keyring>,
    request: Request<'_>,
) -> Result<Received, Error> {
    let hook = hook::find(pool, request.name, None).await?;
    let hook = hook.ok_or_else(|| Error::Unknown(request.name.to_owned()))?;
    let read = judge(pool, keys, &hook, request).await;
    let done = match read {
        Ok(Judged { incoming, payload }) => take_in(pool, hints, &hook, request, &incoming, &payload).await,
        Err(error) => {
            keep_refusal(pool, &hook, request, &Incoming::default(), &error).await?;
            Err(error)
        }
    };
    let (provider, outcome): (&str, &str) = (hook.spec.provider.as_str(), outcome(&done).into());
    metrics::counter!("orchestrator_hook_events_total", "provider" => provider, "outcome" => outcome)
        .increment(1);
    done
}

fn outcome(done: &Result<Received, Error>) -> Outcome {
    match done {
        Ok(Received::Accepted(_)) => Outcome::Accepted,
        Ok(Received::Repeated(_)) => Outcome::Repeated,
        Ok(Received::Ignored(_)) => Outcome::Ignored,
        Ok(Received::Ping) => Outcome::Ping,
        Err(Error::Signature(_)) => Outcome::Refused,
        Err(Error::Paused) => Outcome::Paused,
        Err(_) => Outcome::Failed,
    }
}

struct Judged {
    incoming: Incoming,
    payload: Value,
}

/// Whose it is, and what it says.
async fn judge(
    pool: &Pool,
    keys: Option<&Keyring>,
    hook: &Hook,
    request: Request<'_>,
) -> Result<Judged, Error> {
    let secrets = opened(pool, keys, hook).await?;
    let generic = hook.spec.options.generic();
    let scheme = hook.spec.scheme(&generic);
    signature::verify(scheme, &secrets, request.headers, request.body, request.at)?;
    if !hook.spec.enabled {
        return Err(Error::Paused);
    }
    let payload = payload(hook.spec.provider, request)
        .map_err(|why| Error::Failed(vec![Violation::new("", format!("the body {why}"))]))?;
    let incoming = Incoming::read(hook.spec.provider, &hook.spec.options, request.headers, &payload);
    Ok(Judged { incoming, payload })
}

async fn opened(pool: &Pool, keys: Option<&Keyring>, hook: &Hook) -> Result<Vec<SecretString>, Error> {
    let keys = keys.ok_or(Error::NoKey)?;
    let sealed = hook::secrets(pool, hook.id).await?;
    let owner = owner(hook.id);
    let open = sealed.iter().map(|sealed| keys.open(&owner, sealed));
    Ok(open.collect::<Result<_, _>>()?)
}

/// The body as JSON. GitHub can be set to send it as a form, in one field.
fn payload(provider: Provider, request: Request<'_>) -> Result<Value, String> {
    let kind = request.headers.get("content-type").unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    if provider == Provider::Github && is_form {
        let field = url::form_urlencoded::parse(request.body).find(|(name, _)| name == "payload");
        let (_, json) = field.ok_or("is a form without the field `payload`")?;
        return read(json.as_bytes());
    }
    read(request.body)
}

fn read(json: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(json).map_err(|error| format!("is no JSON: {error}"))
}

async fn take_in(
    pool: &Pool,
    hints: &Hints,
    hook: &Hook,
    request: Request<'_>,
    incoming: &Incoming,
    payload: &Value,
) -> Result<Received, Error> {
    let arrived = arrived(hook, request, incoming);
    if incoming.ping {
        hook_delivery::record(pool, arrived, Outcome::Ping, None, None).await?;
        return Ok(Received::Ping);
    }
    if let Some(job) = repeated(pool, arrived).await? {
        return Ok(Received::Repeated(job));
    }
    match decide(hook, incoming, payload) {
        Ok(Decision::Ignore(why)) => {
            hook_delivery::record(pool, arrived, Outcome::Ignored, Some(&short(&why)), None).await?;
            Ok(Received::Ignored(why))
        }
        Ok(Decision::Make(spec)) => match make(pool, hints, hook, request, arrived, &spec).await {
            Err(error @ Error::Failed(_)) => {
                keep_refusal(pool, hook, request, incoming, &error).await?;
                Err(error)
            }
            made => made,
        },
        Err(wrong) => {
            let error = Error::Failed(wrong);
            keep_refusal(pool, hook, request, incoming, &error).await?;
            Err(error)
        }
    }
}

enum Decision {
    Make(Box<JobSpec>),
    Ignore(String),
}

fn decide(hook: &Hook, incoming: &Incoming, payload: &Value) -> Result<Decision, Vec<Violation>> {
    let spec = &hook.spec;
    let why_not = filter::why_not(&spec.filter, incoming, payload);
    if let Some(why) = why_not.map_err(|why| vec![Violation::new("", why)])? {
        return Ok(Decision::Ignore(why));
    }
    let job = template::render(&spec.template, &spec.project_id, incoming, payload)?;
    Ok(Decision::Make(Box::new(job)))
}

/// The first job, when this delivery made one already.
async fn repeated(pool: &Pool, arrived: Arrived<'_>) -> Result<Option<JobId>, Error> {
    let Some(sender_id) = arrived.sender_id else {
        return Ok(None);
    };
    let Some(job) = hook_delivery::first_job(pool, arrived.hook, sender_id).await? else {
        return Ok(None);
    };
    hook_delivery::record(pool, arrived, Outcome::Repeated, None, Some(job)).await?;
    Ok(Some(job))
}

/// Makes the job, in one transaction with the row that says so.
async fn make(
    pool: &Pool,
    hints: &Hints,
    hook: &Hook,
    request: Request<'_>,
    arrived: Arrived<'_>,
    spec: &JobSpec,
) -> Result<Received, Error> {
    let actor = format!("hook:{}", hook.spec.name);
    let mut jobs = [NewJob {
        id: JobId::generate(),
        project: hook.project,
        spec,
        request_hash: submit::request_hash(spec),
        actor: &actor,
        needs: Vec::new(),
        needed: false,
        trace: request.trace,
        seen: None,
    }];
    let delivery = HookDeliveryId::generate();
    let mut transaction = pool.begin().await.map_err(store::Error::from)?;
    if !hook_delivery::take(&mut *transaction, delivery, arrived, jobs[0].id).await? {
        // The same delivery came at the same instant, and its job is in the table by now.
        drop(transaction);
        let first = repeated(pool, arrived).await?;
        return first.map(Received::Repeated).ok_or_else(vanished);
    }
    let path = |_| "template.".to_owned();
    let (accepted, inserted) = submit::put(&mut transaction, &mut jobs, path)
        .await
        .map_err(failed)?;
    let accepted = *accepted.first().ok_or_else(vanished)?;
    if accepted.repeated {
        hook_delivery::had_a_job(&mut *transaction, delivery, accepted.job).await?;
    }
    transaction.commit().await.map_err(store::Error::from)?;
    submit::follow_up(pool, hints, &jobs, &inserted).await;
    Ok(match accepted.repeated {
        true => Received::Repeated(accepted.job),
        false => Received::Accepted(accepted.job),
    })
}

fn failed(error: submit::Error) -> Error {
    match error {
        submit::Error::Store(error) => Error::Store(error),
        submit::Error::Invalid(wrong) => Error::Failed(wrong),
        other => Error::Failed(vec![Violation::new("", other.to_string())]),
    }
}

/// The job was deleted between two looks.
fn vanished() -> Error {
    let sentence = "the job of this delivery was deleted just now; send it again";
    Error::Failed(vec![Violation::new("", sentence)])
}

fn arrived<'a>(hook: &Hook, request: Request<'_>, incoming: &'a Incoming) -> Arrived<'a> {
    Arrived {
        hook: hook.id,
        sender_id: incoming.delivery.as_deref(),
        event: incoming.event.as_deref().filter(|event| event.len() <= 255),
        body_bytes: i32::try_from(request.body.len()).unwrap_or(i32::MAX),
    }
}

/// Writes down why a request made no job; what is this server's own fault goes into its log.
async fn keep_refusal(
    pool: &Pool,
    hook: &Hook,
    request: Request<'_>,
    incoming: &Incoming,
    error: &Error,
) -> Result<(), Error> {
    let (outcome, reason) = match error {
        Error::Signature(refused) => (Outcome::Refused, Some(refused.to_string())),
        Error::Paused => (Outcome::Paused, None),
        Error::Failed(wrong) => {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            (Outcome::Failed, Some(wrong.join("; ")))
        }
        // Nobody knows who sent it, and it is no fault of theirs.
        Error::NoKey | Error::Shut(_) => {
            tracing::error!(hook.name = hook.spec.name, error = %error, "events cannot be checked, and are sent back");
            return Ok(());
        }
        Error::Unknown(_) | Error::Store(_) => return Ok(()),
    };
    let reason = reason.as_deref().map(short);
    let arrived = arrived(hook, request, incoming);
    Ok(hook_delivery::record(pool, arrived, outcome, reason.as_deref(), None).await?)
}

/// A reason as it is kept: bounded, and without what PostgreSQL's texts cannot hold.
fn short(reason: &str) -> String {
    reason.chars().filter(|c| *c != '\0').take(LONGEST).collect()
}
