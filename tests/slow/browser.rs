//! Swagger UI in a headless Chromium, on the service itself and behind nginx as it is shipped.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::developer::{Developer, script};
use crate::support::Program;

/// Opens the page, tries it out, and checks what every visit must show.
fn visit(base: &str, developer: &Developer, name: &str) {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let picture = pictures.join(format!("{name}.png"));
    let said = script(
        "js",
        &[
            "node",
            &browser(),
            base,
            &developer.token,
            picture.to_str().unwrap(),
        ],
    );
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(
        said["title"].as_str().unwrap().starts_with("orchestrator"),
        "{said}"
    );
    assert!(said["operations"].as_u64().unwrap() > 50, "{said}");
    assert_eq!(
        said["tried"],
        json!({"listJobs": 200, "submitJob": 201}),
        "{said}"
    );
    assert_eq!(said["elsewhere"], json!([]), "loaded from elsewhere");
    assert_eq!(said["complaints"], json!([]), "the browser complains");
    assert!(fs::metadata(&picture).unwrap().len() > 10_000);
    println!("screenshot: {}", picture.display());
}

/// The script, where Node finds what the lock file names.
fn browser() -> String {
    script("js", &["node", "--version"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = root.join("target/js/browser.mjs");
    fs::copy(root.join("tests/js/browser.mjs"), &copy).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[test]
fn swagger_ui_loads_from_this_server_alone_authorises_and_tries_out() {
    let developer = Developer::start(&[]);
    visit(&developer.url, &developer, "swagger-ui");
}

#[test]
fn swagger_ui_works_through_nginx_as_it_is_shipped() {
    let developer = Developer::start(&[("TRUSTED_PROXIES", "127.0.0.1/32")]);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _nginx = nginx(&developer, port);
    visit(
        &format!("https://127.0.0.1:{port}"),
        &developer,
        "swagger-ui-nginx",
    );
}

/// nginx with deploy/nginx/orchestrator.conf; only its addresses, certificate and upstream are this test's.
fn nginx(developer: &Developer, port: u16) -> Program {
    let here = &developer.directory;
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(here.join("cert.pem"), key.cert.pem()).unwrap();
    fs::write(here.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
    let at = |name: &str| here.join(name).to_str().unwrap().to_owned();
    let upstream = developer.url.strip_prefix("http://").unwrap();
    let mut site = include_str!("../../deploy/nginx/orchestrator.conf").to_owned();
    for (shipped, here) in [
        ("server 127.0.0.1:8080;", format!("server {upstream};")),
        ("/etc/ssl/orchestrator/fullchain.pem", at("cert.pem")),
        ("/etc/ssl/orchestrator/privkey.pem", at("key.pem")),
        (
            "listen 443 ssl http2;",
            format!("listen 127.0.0.1:{port} ssl http2;"),
        ),
        ("    listen [::]:443 ssl http2;\n", String::new()),
        (
            "    listen 80;\n    listen [::]:80;\n",
            format!("    listen unix:{};\n", at("plain.sock")),
        ),
        ("server_name jobs.example.com;", "server_name _;".to_owned()),
    ] {
        assert!(
            site.contains(shipped),
            "deploy/nginx/orchestrator.conf has no {shipped:?}"
        );
        site = site.replace(shipped, &here);
    }
    fs::write(here.join("site.conf"), site).unwrap();
    let main = format!(
        "daemon off;\npid {};\nerror_log stderr notice;\nevents {{}}\nhttp {{\n    include /etc/nginx/mime.types;\n    \
         access_log off;\n    client_body_temp_path {};\n    proxy_temp_path {};\n    fastcgi_temp_path {};\n    \
         uwsgi_temp_path {};\n    scgi_temp_path {};\n    include {};\n}}\n",
        at("nginx.pid"),
        at("t1"),
        at("t2"),
        at("t3"),
        at("t4"),
        at("t5"),
        at("site.conf"),
    );
    fs::write(here.join("nginx.conf"), main).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-c", &at("nginx.conf"), "-e", "stderr"]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut nginx = Program::spawn(command);
    nginx.hear("start worker process");
    nginx
}
