//! `orchestrator config`: the settings in force, and the file to write them in.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::output;
use super::settings::{self, Setting};

/// Settings that the file for services begins with set: no default is right for all, or it is for a host without nginx.
const CHOSEN: [(&str, &str); 2] = [
    (
        "DATABASE_URL",
        "postgresql://orchestrator@localhost/orchestrator?host=/run/postgresql",
    ),
    // nginx of deploy/nginx, which hands on one address.
    ("TRUSTED_PROXIES", "127.0.0.1"),
];
/// Settings of which each process has its own; in the file, they would be one for all.
const OF_EACH: [(&str, &str); 2] = [
    (
        "RUNNER_INSTANCE",
        "Not here: the units name each runner themselves.",
    ),
    (
        "METRICS_BIND",
        "Not here: each process needs its own. `systemctl edit UNIT`, and Environment=METRICS_BIND=127.0.0.1:9464",
    ),
];

const HEAD: &str = "\
# Settings of orchestrator's services: one NAME=value a line, read by systemd (EnvironmentFile=) and
# by `orchestrator --env-file`. A line that begins with # is a comment; one that shows a setting shows
# its default. Quotes are taken away, nothing is expanded. Restart the services after a change.
#
# It holds secrets: keep it readable for root and the services' group only (mode 0640).
# `orchestrator --env-file FILE config` says how each is understood.
#
# Made by `orchestrator config --template`.
";

/// Every setting of the services with its value in this environment and where that comes from. Secrets are not shown.
/// Ends with code 1 when a value cannot be understood.
#[derive(Args, Debug)]
pub(super) struct Config {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Print the commented file to write settings in, deploy/orchestrator.env, instead
    #[arg(long, conflicts_with = "json")]
    template: bool,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let all = settings::all();
        if self.template {
            output::text(&template(&all))?;
            return Ok(ExitCode::SUCCESS);
        }
        let effective: Vec<_> = all.iter().map(Setting::effective).collect();
        if self.json {
            output::json(&effective)?;
        } else {
            let rows = effective.iter().map(|setting| {
                let value = match (&setting.fault, &setting.value) {
                    (Some(fault), _) => format!("WRONG: {fault}"),
                    (None, Some(value)) => value.clone(),
                    (None, None) if setting.secret => "(set, not shown)".to_owned(),
                    (None, None) => String::new(),
                };
                let services = setting.services.join(" ");
                [setting.name.clone(), setting.source.to_owned(), services, value]
            });
            output::text(&output::table(["setting", "from", "services", "value"], rows))?;
        }
        Ok(ExitCode::from(u8::from(
            effective.iter().any(|setting| setting.fault.is_some()),
        )))
    }
}

/// The file for services, by the services that have a setting.
fn template(all: &[Setting]) -> String {
    let mut text = HEAD.to_owned();
    let mut kinds: Vec<&[&str]> = Vec::new();
    for setting in all {
        if !kinds.contains(&setting.services.as_slice()) {
            kinds.push(&setting.services);
        }
    }
    kinds.sort_by_key(|services| std::cmp::Reverse(services.len()));
    for kind in kinds {
        let title = match kind {
            ["api", "runner", "scheduler"] => "Every service".to_owned(),
            ["api"] => "The API".to_owned(),
            ["runner"] => "Runners".to_owned(),
            ["scheduler"] => "Schedulers".to_owned(),
            ["api", "scheduler"] => "The API and schedulers".to_owned(),
            several => several.join(", "),
        };
        let _ = write!(text, "\n\n##### {title}\n");
        let of_kind = all.iter().filter(|setting| setting.services == kind);
        of_kind.for_each(|setting| entry(&mut text, setting));
    }
    text
}

fn entry(text: &mut String, setting: &Setting) {
    let name = setting.name();
    let _ = writeln!(text, "\n# {}", setting.help().replace('\n', "\n# "));
    let choices = setting.choices();
    match choices.iter().any(|choice| choice == "true") {
        true => text.push_str("# true or false\n"),
        false if !choices.is_empty() => drop(writeln!(text, "# One of: {}", choices.join(", "))),
        false => {}
    }
    if setting.is_secret() {
        text.push_str("# Secret.\n");
    }
    let chosen = CHOSEN.iter().find(|(chosen, _)| *chosen == name);
    let own = OF_EACH.iter().find(|(own, _)| *own == name);
    let _ = match (chosen, own) {
        (Some((_, value)), _) => writeln!(text, "{name}={value}"),
        (None, Some((_, why))) => writeln!(text, "# {why}"),
        (None, None) => writeln!(text, "#{name}={}", setting.default().unwrap_or_default()),
    };
}
