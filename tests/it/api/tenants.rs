//! Every route with every kind of token. The table of routes is the document's, which the router is made
//! from: a route without a rule here fails.

use std::collections::BTreeMap;

use orchestrator::domain::token::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use super::server::Server;
use crate::support::{ask, tell};

/// What nobody but the owner of the project may ever read.
const MARK: &str = "marker";

/// Operations that need no token: probes, the document, and what proves itself by a signature.
const OPEN: &[&str] = &[
    "checkHealth",
    "checkLiveness",
    "checkReadiness",
    "readMetrics",
    "readDocument",
    "receiveEvent",
];

/// Operations on what all projects share, which whoever may read or use it finds.
const SHARED: &[&str] = &["previewSchedule", "listAgents", "showAgent"];

/// What the job of the marked project left behind.
const ARTIFACT: &str = "report.md";

/// Lets the job have left it.
async fn leave(server: &Server, job: &str) {
    let text = format!("{MARK} report");
    let row = format!(
        "insert into artifact (job_id, path, attempt, size, sha256, media_type)
         values ('{job}', '{ARTIFACT}', 1, {}, sha256('{text}'), 'text/markdown')",
        text.len()
    );
    tell(&server.pool, &row).await;
    let directory = server.artifacts.join(job);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(ARTIFACT), text).unwrap();
}

/// One operation of the document.
struct Route {
    id: String,
    method: Method,
    path: String,
    scope: Option<Scope>,
    every_project: bool,
    body: Option<Value>,
    /// The parameters of the query that must be there.
    query: Vec<(String, String)>,
}

fn required(parameters: &Value) -> Vec<(String, String)> {
    let parameters = parameters.as_array().into_iter().flatten();
    let needed = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let pair = |parameter: &Value| {
        let text = |field: &str| parameter[field].as_str().unwrap().to_owned();
        (text("name"), text("example"))
    };
    needed.map(pair).collect()
}

fn routes() -> Vec<Route> {
    let document = serde_json::to_value(orchestrator::api::document()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let description = operation["description"].as_str().unwrap();
            let content = &operation["requestBody"]["content"]["application/json"];
            let named = content["examples"]
                .as_object()
                .and_then(|all| all.values().next());
            let body = named.map(|named| &named["value"]).or(content.get("example"));
            assert!(
                body.is_some() || content.is_null(),
                "{method} {path} has a body without a worked example"
            );
            routes.push(Route {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                scope: operation["x-scope"].as_str().map(|scope| scope.parse().unwrap()),
                every_project: description.ends_with(" and every project."),
                body: body.cloned(),
                query: required(&operation["parameters"]),
            });
        }
    }
    // What removes things comes last, so that the others find them.
    routes.sort_by_key(|route| route.method == Method::DELETE);
    routes
}

/// The server, and something of the marked project for every parameter of a path.
struct Ground {
    server: Server,
    ids: BTreeMap<&'static str, String>,
}

impl Ground {
    async fn make() -> Self {
        let server = Server::start().await;
        let alias = format!("{MARK}-project");
        let project = server.project(&alias).await;
        server.project("other").await;
        let job = json!({
            "goal": format!("{MARK} goal"), "project_id": alias, "queue": format!("{MARK}-queue"),
            "callback_url": "https://marker.example.com/", "tags": [MARK],
            "steps": [{"step_id": "a", "argv": ["true"]}],
        });
        let made: Value = server
            .post("/api/v1/jobs", &job)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let job = made["id"].as_str().unwrap().to_owned();
        server
            .post(&format!("/api/v1/jobs/{job}/cancel"), &Value::Null)
            .send()
            .await
            .unwrap();
        let log = format!(
            "insert into log (job_id, attempt, seq, position, stream, at, body)
                           values ('{job}', 1, 0, 0, 'stdout', now(), '{MARK} output')"
        );
        tell(&server.pool, &log).await;
        leave(&server, &job).await;
        let hook = json!({
            "name": format!("{MARK}-hook"), "project_id": alias, "provider": "github", "secret": "It's a secret",
            "template": {"goal": "g", "steps": [{"step_id": "a", "argv": ["true"]}]},
        });
        let hook_made = server.post("/api/v1/hooks", &hook).send().await.unwrap();
        assert_eq!(hook_made.status(), 201);
        let schedule = json!({
            "name": format!("{MARK}-schedule"), "expression": "0 3 * * *",
            "job": {"goal": "g", "project_id": alias, "steps": [{"step_id": "a", "argv": ["true"]}]},
        });
        let schedule_made = server.post("/api/v1/schedules", &schedule).send().await.unwrap();
        assert_eq!(
            schedule_made.status(),
            201,
            "{}",
            schedule_made.text().await.unwrap()
        );
        let token = server.token(&[Scope::Read], &[project]).await;
        tell(
            &server.pool,
            &format!(
                "update token set name = '{MARK}-token' where prefix = '{}'",
                &token[..8]
            ),
        )
        .await;
        let one = async |question: &str| ask(&server.pool, question).await;
        let ids = BTreeMap::from([
            ("/jobs/{id}", job.clone()),
            ("/api/v1/jobs/{id}", job),
            ("/api/v1/projects/{alias}", alias.clone()),
            (
                "/api/v1/tokens/{id}",
                one(&format!("select id from token where name = '{MARK}-token'")).await,
            ),
            ("/api/v1/schedules/{id}", one("select id from schedule").await),
            ("/api/v1/hooks/{name}", format!("{MARK}-hook")),
            (
                "/api/v1/deliveries/{id}",
                one("select id from delivery limit 1").await,
            ),
            ("/api/v1/agents/{name}", "claude".to_owned()),
            ("/api/v1/queues/{name}", format!("{MARK}-queue")),
            ("/api/v1/runners/{id}", uuid::Uuid::now_v7().to_string()),
        ]);
        Self { server, ids }
    }

    /// The path with what belongs to the marked project in it.
    fn path(&self, route: &Route) -> String {
        if !route.path.contains('{') {
            return route.path.clone();
        }
        let found = self
            .ids
            .iter()
            .find(|(pattern, _)| route.path == **pattern || route.path.starts_with(&format!("{pattern}/")));
        let Some((pattern, id)) = found else {
            panic!(
                "{} has no rule: name something of a project for its path in `Ground::make`",
                route.path
            )
        };
        let (before, after) = pattern.split_once('{').unwrap();
        let name = format!("{{{after}");
        let path = route
            .path
            .replacen(&format!("{before}{name}"), &format!("{before}{id}"), 1)
            .replace("{path}", ARTIFACT);
        assert!(
            !path.contains('{'),
            "{path} has a second parameter without a rule"
        );
        path
    }

    async fn send(&self, route: &Route, token: Option<&str>) -> (u16, String) {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&route.query)
            .finish();
        let address = format!("{}?{query}", self.path(route));
        let mut request = self.server.anonymous(route.method.clone(), &address);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &route.body {
            let mut body = body.clone();
            if route.path.contains("{name}") && body.get("name").is_some() {
                body["name"] = json!(format!("{MARK}-hook"));
            }
            let own = format!("\"{MARK}-project\"");
            let text = body.to_string().replace("\"demo\"", &own).replace("\"*\"", &own);
            request = request.header("content-type", "application/json").body(text);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    }

    async fn token(&self, scopes: &[Scope], project: Option<&str>) -> String {
        let projects = match project {
            None => Vec::new(),
            Some(alias) => vec![self.server.project(alias).await],
        };
        self.server.token(scopes, &projects).await
    }
}

fn says(text: &str, code: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|body| body["code"] == code)
}

#[tokio::test]
async fn every_route_refuses_whoever_has_no_good_token() {
    let ground = Ground::make().await;
    let revoked = ground.token(&[Scope::Admin], None).await;
    let expired = ground.token(&[Scope::Admin], None).await;
    for (token, what) in [(&revoked, "revoked_at"), (&expired, "expires_at")] {
        let hash = format!("sha256('{token}'::bytea)");
        tell(
            &ground.server.pool,
            &format!("update token set {what} = now() where hash = {hash}"),
        )
        .await;
    }
    for route in routes() {
        if route.scope.is_none() {
            assert!(
                OPEN.contains(&route.id.as_str()),
                "{} needs no token, and is not in `OPEN`",
                route.id
            );
            continue;
        }
        for token in [None, Some("orc_unknown"), Some(&*revoked), Some(&*expired)] {
            let (status, text) = ground.send(&route, token).await;
            assert_eq!(status, 401, "{} with {token:?}: {text}", route.id);
        }
    }
}

#[tokio::test]
async fn every_route_takes_its_own_scope_and_no_other() {
    let ground = Ground::make().await;
    for route in routes() {
        let Some(needed) = route.scope else { continue };
        for scope in [Scope::Submit, Scope::Read, Scope::Operate] {
            if scope == needed {
                continue;
            }
            let (status, text) = ground
                .send(&route, Some(&ground.token(&[scope], None).await))
                .await;
            assert!(
                status == 403 && says(&text, "missing_scope"),
                "{} with {scope}: {status} {text}",
                route.id
            );
        }
    }
}

#[tokio::test]
async fn every_route_opens_to_its_scope_in_its_own_project() {
    let ground = Ground::make().await;
    let alias = format!("{MARK}-project");
    for route in routes() {
        let Some(needed) = route.scope else { continue };
        let own = ground.token(&[needed], Some(&alias)).await;
        if route.every_project {
            let (status, text) = ground.send(&route, Some(&own)).await;
            assert!(
                status == 403 && says(&text, "project_forbidden"),
                "{}: {status} {text}",
                route.id
            );
            continue;
        }
        let (status, text) = ground.send(&route, Some(&own)).await;
        assert!(
            !matches!(status, 401 | 403 | 404 | 405 | 415 | 422 | 500..),
            "{}: {status} {text}",
            route.id
        );
    }
}

#[tokio::test]
async fn no_route_shows_or_changes_anything_of_another_project() {
    let ground = Ground::make().await;
    let state = "select md5(string_agg(row::text, '' order by row::text)) from (
        select job::text as row from job union all select project::text from project union all
        select token_project::text from token_project union all select hook::text from hook union all
        select delivery::text from delivery union all select schedule::text from schedule) as rows";
    // All that follows leaves what is there as it is, but for the strangers' own tokens.
    let strangers: Vec<(Scope, String)> = {
        let mut made = Vec::new();
        for scope in [Scope::Submit, Scope::Read, Scope::Operate, Scope::Admin] {
            made.push((scope, ground.token(&[scope], Some("other")).await));
        }
        made
    };
    let before = ask(&ground.server.pool, state).await;
    for route in routes() {
        let Some(needed) = route.scope else { continue };
        for (scope, token) in &strangers {
            if *scope != needed && *scope != Scope::Admin {
                continue;
            }
            let (status, text) = ground.send(&route, Some(token)).await;
            let what = format!("{} with {scope} of another project: {status} {text}", route.id);
            if SHARED.contains(&route.id.as_str()) {
                assert!(status < 500, "{what}");
            } else if route.every_project {
                assert_eq!(status, 403, "{what}");
                assert!(says(&text, "project_forbidden"), "{what}");
            } else if route.path.contains('{') {
                assert_eq!(status, 404, "{what}");
            } else if route.method == Method::GET {
                assert_eq!(status, 200, "{what}");
                assert!(!text.contains(MARK), "{what}");
                for id in ground.ids.values() {
                    assert!(!text.contains(id.as_str()), "{what}");
                }
            } else {
                assert!(matches!(status, 403 | 422), "{what}");
            }
        }
    }
    assert_eq!(ask(&ground.server.pool, state).await, before);
}
