//! A running API with a database of its own.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use orchestrator::api::{Api, Looked, Parts, Settings, serve};
use orchestrator::app::authenticate::Tokens;
use orchestrator::app::environment::first_project_and_token;
use orchestrator::app::hint::Hints;
use orchestrator::app::submit::together;
use orchestrator::domain::environment::Alias;
use orchestrator::domain::id::{JobId, ProjectId};
use orchestrator::domain::seal::Keyring;
use orchestrator::domain::token::{Scope, TokenHash, generate, prefix};
use orchestrator::objects::Objects;
use orchestrator::store::token::NewToken;
use orchestrator::store::{self, Pool, database};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{self, Database, Scratch};

/// One API, its database, and an administrator's token for every project.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) pool: Pool,
    pub(super) admin: String,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<std::io::Result<()>>,
    /// Where artifacts are.
    pub(super) artifacts: std::path::PathBuf,
    _directory: Scratch,
    _database: Database,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        let keys = Keyring::generate().expose_secret().parse().unwrap();
        Self::of(settings, Some(keys)).await
    }

    /// One that has no key for secrets.
    pub(super) async fn without_key() -> Self {
        Self::of(Settings::default(), None).await
    }

    async fn of(settings: Settings, keys: Option<Keyring>) -> Self {
        let database = support::database().await;
        let pool = database::pool(&database.url, "api-test", 8).unwrap();
        let secret = generate();
        let demo = Alias {
            alias: "demo".into(),
            directory: "/srv/demo".into(),
        };
        first_project_and_token(&pool, &demo, &secret).await.unwrap();
        let directory = support::scratch();
        let artifacts = directory.join("artifacts");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let hints = Hints::start(pool.clone());
        let api = Api::of(Parts {
            pool: pool.clone(),
            tokens: Tokens::of(&pool),
            together: together(&pool, &hints),
            hints,
            settings,
            objects: Objects::directory(&artifacts),
            keys,
            metrics: metrics(),
            looked: Looked::default(),
            stop: stop.clone(),
        });
        let task = tokio::spawn(serve(listener, api));
        Self {
            address,
            pool,
            admin: secret.expose_secret().to_owned(),
            stop,
            task,
            artifacts,
            _directory: directory,
            _database: database,
            http: client(),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a token.
    pub(super) fn anonymous(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// A read with the administrator's token.
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.anonymous(reqwest::Method::GET, path)
            .bearer_auth(&self.admin)
    }

    /// A submission with the administrator's token.
    pub(super) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.anonymous(reqwest::Method::POST, path)
            .bearer_auth(&self.admin)
            .json(body)
    }

    /// Puts a job into `project` and answers with its id.
    pub(super) async fn job(&self, project: &str) -> JobId {
        let answer = self.post("/api/v1/jobs", &spec(project)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let body: Value = answer.json().await.unwrap();
        body["id"].as_str().unwrap().parse().unwrap()
    }

    pub(super) async fn project(&self, alias: &str) -> ProjectId {
        store::project::put(&self.pool, alias, "/srv/other", "administrator")
            .await
            .unwrap()
    }

    /// A token with `scopes` for `projects`; no projects is every one.
    pub(super) async fn token(&self, scopes: &[Scope], projects: &[ProjectId]) -> String {
        let secret = generate();
        let new = NewToken {
            name: "test",
            prefix: &prefix(&secret),
            hash: TokenHash::of(secret.expose_secret()),
            scopes,
            every_project: projects.is_empty(),
            origin: "administrator",
            expires_at: None,
            rotated_from: None,
        };
        let id = store::token::put(&self.pool, &new).await.unwrap();
        store::token::set_projects(&self.pool, id, projects)
            .await
            .unwrap();
        secret.expose_secret().to_owned()
    }

    /// A token with a secret of one's own choosing, as the environment makes them.
    pub(super) async fn environment_token(&self, secret: &str) {
        let new = NewToken {
            name: "environment",
            prefix: &prefix(&SecretString::from(secret)),
            hash: TokenHash::of(secret),
            scopes: &[Scope::Read],
            every_project: true,
            origin: "environment",
            expires_at: None,
            rotated_from: None,
        };
        store::token::put(&self.pool, &new).await.unwrap();
    }
}

/// A client that keeps no connection and gives up instead of hanging.
pub(super) fn client() -> reqwest::Client {
    // The client insists on a provider although it speaks plain HTTP here; the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// The smallest job.
pub(super) fn spec(project: &str) -> Value {
    json!({"goal": "Say hello", "project_id": project, "steps": [{"step_id": "hello", "argv": ["echo", "hello"]}]})
}

/// One recorder for the process: the tests of this binary share it, as the services of `dev` do.
fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| orchestrator::telemetry::metrics().unwrap())
        .clone()
}

/// Reads an answer as a problem and checks what every problem has.
pub(super) async fn problem(answer: reqwest::Response) -> Value {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id);
    for field in ["type", "title", "code", "detail"] {
        assert!(
            !body[field].as_str().unwrap_or_default().is_empty(),
            "{field} in {body}"
        );
    }
    body
}
