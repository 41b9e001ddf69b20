//! Those who ask for jobs, and ask again until they are answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orchestrator::app::authenticate::Caller;
use orchestrator::app::control::{self, cancel};
use orchestrator::app::hint::Hints;
use orchestrator::domain::id::JobId;
use orchestrator::store::Pool;
use rand::RngExt as _;
use rand::rngs::StdRng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ground::{Ground, TOKEN};
use super::{CALLERS, JOBS};

/// Between two requests; the last one comes when about everything was done to everyone.
const PACE: Duration = Duration::from_millis(25);

/// What a job does and how it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Quick,
    /// Long enough to be met by whatever happens to its runner.
    Slow,
    /// Longer than a lease: it outlives a frozen runner, unless it is ended.
    Long,
    TwoSteps,
    /// One of few that may run at once.
    Limited,
    /// Not due for a second.
    Later,
    /// After the job before it of the same caller that succeeds.
    Needing,
    Failing,
    /// Succeeds in its second attempt, or whichever comes after.
    Retried,
    /// Leaves a process behind, or tries to.
    Daemon,
    /// Is asked to stop when it may have begun.
    Cancelled,
}

impl Kind {
    fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..40 => Self::Quick,
            40..52 => Self::Slow,
            52..55 => Self::Long,
            55..67 => Self::TwoSteps,
            67..73 => Self::Limited,
            73..77 => Self::Later,
            77..81 => Self::Needing,
            81..87 => Self::Failing,
            87..91 => Self::Retried,
            91..95 => Self::Daemon,
            _ => Self::Cancelled,
        }
    }

    /// The ends it may have.
    pub(super) fn ends(self) -> &'static [&'static str] {
        match self {
            Self::Failing => &["failed exit_nonzero"],
            Self::Cancelled => &["cancelled cancelled", "succeeded"],
            _ => &["succeeded"],
        }
    }
}

/// A job that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) job: JobId,
    pub(super) kind: Kind,
}

pub(super) struct Callers {
    tasks: JoinSet<()>,
    accepted: Arc<Mutex<BTreeMap<String, Accepted>>>,
}

impl Callers {
    pub(super) fn start(ground: &Ground, random: &mut StdRng) -> Self {
        let kinds: Arc<Vec<Kind>> = Arc::new((0..JOBS).map(|_| Kind::draw(random)).collect());
        let (next, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for _ in 0..CALLERS {
            let caller = OneCaller {
                // A frozen API answers nobody; whoever waits for it asks another time.
                http: Client::builder().timeout(Duration::from_secs(3)).build().unwrap(),
                api: ground.api.clone(),
                pool: ground.pool.clone(),
                effects: ground.effects.to_str().unwrap().to_owned(),
                accepted: Arc::clone(&accepted),
                last: None,
            };
            tasks.spawn(caller.ask(began, Arc::clone(&kinds), Arc::clone(&next)));
        }
        Self { tasks, accepted }
    }

    /// Everything that was accepted, by key, when every caller is done.
    pub(super) async fn all(self) -> BTreeMap<String, Accepted> {
        self.tasks.join_all().await;
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

struct OneCaller {
    http: Client,
    api: String,
    pool: Pool,
    effects: String,
    accepted: Arc<Mutex<BTreeMap<String, Accepted>>>,
    /// The last job that will succeed.
    last: Option<JobId>,
}

impl OneCaller {
    async fn ask(mut self, began: Instant, kinds: Arc<Vec<Kind>>, next: Arc<AtomicUsize>) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(kind) = kinds.get(number) else { return };
            let due = began + PACE * u32::try_from(number).unwrap();
            tokio::time::sleep_until(due.into()).await;
            let key = format!("chaos-{number}");
            let job = self.submit(&key, *kind).await;
            if *kind == Kind::Cancelled {
                self.cancel(job).await;
            }
            if kind.ends() == ["succeeded"] {
                self.last = Some(job);
            }
            let accepted = Accepted { job, kind: *kind };
            self.accepted.lock().unwrap().insert(key, accepted);
        }
    }

    /// Asks until it is accepted; some ask once more, and must hear of the same job.
    async fn submit(&self, key: &str, kind: Kind) -> JobId {
        let body = self.body(key, kind);
        let (_, job) = self.post(&body).await;
        if key.ends_with('7') {
            assert_eq!(
                self.post(&body).await,
                (StatusCode::OK, job),
                "{key} was repeated"
            );
        }
        job
    }

    async fn post(&self, body: &Value) -> (StatusCode, JobId) {
        loop {
            let request = self.http.post(format!("{}/webhook", self.api)).bearer_auth(TOKEN);
            if let Ok(answer) = request.json(body).send().await {
                let status = answer.status();
                match answer.json::<Value>().await {
                    Ok(said) if status.is_success() => {
                        return (status, said["job_id"].as_str().unwrap().parse().unwrap());
                    }
                    // Cut off in the middle, or told to come again.
                    Err(_) => {}
                    Ok(said) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As an operator does, until there is an answer.
    async fn cancel(&self, job: JobId) {
        let operator = Caller::operator("chaos");
        loop {
            match cancel(&self.pool, &Hints::default(), &operator, job).await {
                Ok(_) => return,
                // Ended before it was asked to.
                Err(control::Error::State { .. }) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn body(&self, key: &str, kind: Kind) -> Value {
        let step = |id: &str, then: &str| {
            let script = format!(
                "echo \"$ORCHESTRATOR_JOB_ID $ORCHESTRATOR_ATTEMPT $ORCHESTRATOR_STEP_ID\" >> {}; echo said; {then}",
                self.effects
            );
            json!({ "step_id": id, "argv": ["sh", "-c", script], "max_retries": 0 })
        };
        let mut body =
            json!({ "goal": key, "project_id": "demo", "idempotency_key": key, "max_attempts": 100 });
        body["steps"] = match kind {
            Kind::Slow | Kind::Cancelled => json!([step("one", "sleep 1.5")]),
            Kind::Long => json!([step(
                "one",
                &format!(
                    "sleep 5; echo \"$ORCHESTRATOR_JOB_ID $ORCHESTRATOR_ATTEMPT end\" >> {}",
                    self.effects
                )
            )]),
            Kind::Limited => json!([step("one", "sleep 0.5")]),
            Kind::TwoSteps => json!([step("one", ""), step("two", "sleep 0.2")]),
            Kind::Failing => json!([step("one", "exit 3")]),
            Kind::Daemon => json!([step("one", "( setsid sh -c 'trap \"\" TERM; sleep 900' & ) &")]),
            Kind::Retried => {
                let mut step = step("one", "[ $ORCHESTRATOR_ATTEMPT -ge 2 ]");
                step["max_retries"] = json!(1);
                step["retry_backoff_sec"] = json!(0);
                json!([step])
            }
            _ => json!([step("one", "")]),
        };
        match (kind, self.last) {
            (Kind::Needing, Some(last)) => body["needs"] = json!([last]),
            (Kind::Limited, _) => {
                body["concurrency"] = json!({ "key": format!("key-{}", key.len()), "limit": 2 });
            }
            (Kind::Later, _) => {
                let at = orchestrator::domain::clock::now() + Duration::from_secs(1);
                body["run_at"] = json!(at);
            }
            _ => {}
        }
        body
    }
}
