//! Traces: one from the webhook through the runner to the callback, with a collector and without.

mod collector;

use nix::sys::signal::Signal::SIGTERM;
use orchestrator::domain::seal::Keyring;
use orchestrator::domain::trace::TraceParent;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::callbacks::receiver::Receiver;
use crate::support::{Database, Program, Scratch, ask, database, scratch, until};
use collector::Collector;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01";
const TOKEN: &str = "token-of-the-traces-test";

/// API, runner and scheduler as processes of their own, and somebody who is called back.
struct House {
    database: Database,
    receiver: Receiver,
    address: String,
    services: [Program; 3],
    _directory: Scratch,
}

impl House {
    async fn start(more: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (database, directory) = (database().await, scratch());
        let receiver = Receiver::start(|_| axum::http::StatusCode::OK).await;
        let workspaces = directory.join("workspaces");
        let alias = format!("demo={}", directory.project());
        let (tokens, key) = (format!("{TOKEN}=*"), Keyring::generate());
        let mut environment = vec![
            ("DATABASE_URL", database.url.expose()),
            ("WORKSPACES_ROOT", workspaces.to_str().unwrap()),
            ("PROJECT_ALIASES", &alias),
            ("WEBHOOK_TOKENS", &tokens),
            ("SECRETS_KEY", key.expose_secret()),
            ("CALLBACK_ALLOWED_RANGES", "127.0.0.0/8"),
            ("SANDBOX", "off"),
            ("API_BIND", "127.0.0.1:0"),
            ("LOG_JSON", "true"),
            ("LOG_LEVEL", "info,orchestrator=debug"),
        ];
        environment.extend(more);
        let start = |service| Program::start(&[service], &environment);
        let mut services = [start("api"), start("runner"), start("scheduler")];
        let listening: Value = serde_json::from_str(&services[0].hear("API listening")).unwrap();
        let address = listening["http.address"].as_str().unwrap().to_owned();
        let pool = database.pool();
        until(async || (ask(&pool, "select count(*) from token").await == "1").then_some(())).await;
        Self {
            database,
            receiver,
            address,
            services,
            _directory: directory,
        }
    }

    /// Posts a job whose step prints its trace, and waits until its callback was heard. Answers with what was printed.
    async fn run(&self, traceparent: Option<&str>) -> String {
        let step = json!({ "step_id": "say", "argv": ["sh", "-c", "echo trace=$TRACEPARENT"] });
        let job = json!({ "goal": "g", "project_id": "demo", "steps": [step], "callback_url": self.receiver.url() });
        let heard = self.receiver.heard().len();
        let mut request = reqwest::Client::new()
            .post(format!("http://{}/webhook", self.address))
            .bearer_auth(TOKEN)
            .header("x-request-id", "request-4711")
            .json(&job);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        until(async || (self.receiver.heard().len() > heard).then_some(())).await;
        let pool = self.database.pool();
        ask(
            &pool,
            "select trim(body, e'\\n') from log where stream = 'stdout' order by job_id desc limit 1",
        )
        .await
    }

    /// The header of the last callback.
    fn called_back(&self) -> Option<String> {
        let heard = self.receiver.heard();
        let header = heard.last().unwrap().headers.get("traceparent")?;
        Some(header.to_str().unwrap().to_owned())
    }

    /// Stops everything; answers with what each service said.
    fn stop(&mut self) -> Vec<String> {
        let services = self.services.iter_mut();
        services
            .map(|service| {
                service.signal(SIGTERM);
                assert!(service.end().success(), "{}", service.said());
                service.said()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_from_the_webhook_through_the_runner_to_the_callback_and_to_the_collector() {
    let collector = Collector::start().await;
    let endpoint = collector.url();
    let mut house = House::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret-of-the-collector"),
    ])
    .await;
    let printed = house.run(Some(CALLER)).await;
    let called_back: TraceParent = house.called_back().unwrap().parse().unwrap();
    for said in house.stop() {
        assert!(!said.contains("s3cret"), "{said}");
    }
    let caller: TraceParent = CALLER.parse().unwrap();
    let spans = collector.spans();
    assert!(!spans.is_empty() && spans.iter().all(|span| span.key == "s3cret-of-the-collector"));
    let mine: Vec<_> = spans.iter().filter(|span| span.trace == caller.trace).collect();
    let one = |name: &str| {
        let found: Vec<_> = mine.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} in {mine:#?}");
        *found[0]
    };
    let (request, job, step, callback) = (one("POST /webhook"), one("job"), one("step"), one("callback"));
    assert_eq!(request.service, "orchestrator-api");
    assert_eq!(
        (job.service.as_str(), step.service.as_str()),
        ("orchestrator-runner", "orchestrator-runner")
    );
    assert_eq!(callback.service, "orchestrator-scheduler");
    assert_eq!(request.parent, caller.span);
    assert_eq!(job.parent, request.id);
    assert_eq!(step.parent, job.id);
    assert_eq!(callback.parent, request.id);
    // What is outside of our processes hangs below our spans.
    let step_place = TraceParent {
        span: step.id,
        ..caller
    };
    assert_eq!(printed, format!("trace={step_place}"));
    assert_eq!(
        called_back,
        TraceParent {
            span: callback.id,
            ..caller
        }
    );
    let job_id = ask(&house.database.pool(), "select id from job").await;
    for span in [job, callback] {
        assert_eq!(span.attributes.get("job.id"), Some(&job_id));
    }
    // Probes are in nobody's trace.
    assert!(spans.iter().all(|span| span.name != "probe"), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_trace_is_handed_on_as_it_came_and_logs_name_request_job_attempt_and_trace() {
    let mut house = House::start(&[]).await;
    assert_eq!(house.run(Some(CALLER)).await, format!("trace={CALLER}"));
    assert_eq!(house.called_back().as_deref(), Some(CALLER));
    // A request is not refused for a header that is none, and nothing is made up for one without.
    assert_eq!(house.run(Some("00-0-0-01")).await, "trace=");
    assert_eq!(house.run(None).await, "trace=");
    assert_eq!(house.called_back(), None);
    let job = ask(&house.database.pool(), "select id from job order by id limit 1").await;
    let trace = CALLER.parse::<TraceParent>().unwrap().trace_id();
    let [api, runner, scheduler] = house.stop().try_into().unwrap();
    let of = |said: &str, span: &str, field: &str, value: &str| -> Vec<Value> {
        let lines = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| {
                let spans = line["spans"].as_array();
                spans
                    .into_iter()
                    .flatten()
                    .any(|of| of["name"] == span && of[field] == value)
            })
            .collect()
    };
    let answered = of(&api, "request", "request_id", "request-4711");
    assert!(answered.iter().any(|line| line["message"] == "answered"), "{api}");
    assert!(!of(&api, "request", "trace_id", &trace).is_empty(), "{api}");
    let ended = of(&runner, "job", "job.id", &job);
    assert!(
        ended
            .iter()
            .any(|line| line["spans"][0]["job.attempt"] == 1 && line["spans"][0]["trace_id"] == *trace),
        "{runner}"
    );
    assert!(
        !of(&scheduler, "callback", "job.id", &job).is_empty(),
        "{scheduler}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_said_and_holds_up_nothing() {
    // Taken and let go: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("http://{nobody}");
    let mut house = House::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let printed = house.run(None).await;
    // The trace began here.
    let began: TraceParent = printed.strip_prefix("trace=").unwrap().parse().unwrap();
    let called_back: TraceParent = house.called_back().unwrap().parse().unwrap();
    assert_eq!(began.trace, called_back.trace);
    for said in house.stop() {
        assert_eq!(said.matches("takes no spans").count(), 1, "{said}");
    }
}
