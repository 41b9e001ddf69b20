//! Every setting of the services, as the command line has them: the one place that knows is clap.

use clap::{Arg, Args, Command, CommandFactory as _};
use serde::Serialize;

use super::Cli;

/// The subcommands that are services.
const SERVICES: [&str; 3] = ["api", "runner", "scheduler"];

/// A setting.
pub(super) struct Setting {
    argument: Arg,
    /// The services that have it.
    pub(super) services: Vec<&'static str>,
}

/// What a setting is now.
#[derive(Serialize)]
pub(super) struct Effective {
    /// Its environment variable.
    pub(super) name: String,
    /// Its value, as written; `None` when it has none or when that is a secret.
    pub(super) value: Option<String>,
    /// `environment`, `default` or `unset`.
    pub(super) source: &'static str,
    /// Whether the value is one that is not shown.
    pub(super) secret: bool,
    /// Why the value cannot be understood.
    pub(super) fault: Option<String>,
    /// The services that have it.
    pub(super) services: Vec<&'static str>,
}

/// All settings, in the order of the command line's help, each once.
pub(super) fn all() -> Vec<Setting> {
    let command = Cli::command();
    let mut settings: Vec<Setting> = Vec::new();
    for service in SERVICES {
        let subcommand = command.find_subcommand(service);
        let arguments = subcommand.into_iter().flat_map(Command::get_arguments);
        for argument in arguments.chain(command.get_arguments()) {
            let Some(name) = argument.get_env() else { continue };
            match settings
                .iter_mut()
                .find(|known| known.argument.get_env() == Some(name))
            {
                Some(known) => known.services.push(service),
                None => settings.push(Setting {
                    argument: argument.clone(),
                    services: vec![service],
                }),
            }
        }
    }
    settings
}

impl Setting {
    /// Its environment variable.
    pub(super) fn name(&self) -> String {
        let name = self.argument.get_env().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What it is, in a sentence.
    pub(super) fn help(&self) -> String {
        self.argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Its default, as it would be written.
    pub(super) fn default(&self) -> Option<String> {
        let values = self.argument.get_default_values();
        let written: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
        (!written.is_empty()).then(|| written.join(","))
    }

    /// The only values there are, if they can be listed.
    pub(super) fn choices(&self) -> Vec<String> {
        let values = self.argument.get_possible_values();
        values.iter().map(|value| value.get_name().to_owned()).collect()
    }

    pub(super) fn is_secret(&self) -> bool {
        self.argument.is_hide_env_values_set()
    }

    /// Reads it as a service would.
    pub(super) fn effective(&self) -> Effective {
        let argument = self.argument.clone().global(false).required(false);
        let command = Command::new("orchestrator").disable_help_flag(true).arg(argument);
        let (value, source, fault) = match command.try_get_matches_from(["orchestrator"]) {
            Ok(matches) => {
                let id = self.argument.get_id().as_str();
                let raw = matches.get_raw(id).into_iter().flatten();
                let written: Vec<_> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
                let value = (!written.is_empty()).then(|| written.join(","));
                let source = match matches.value_source(id) {
                    Some(clap::parser::ValueSource::EnvVariable) => "environment",
                    Some(_) => "default",
                    None => "unset",
                };
                (value, source, None)
            }
            Err(error) => (None, "environment", Some(sentence(&error))),
        };
        let secret = self.is_secret() && source == "environment";
        Effective {
            name: self.name(),
            value: value.filter(|_| !secret),
            source,
            secret,
            fault,
            services: self.services.clone(),
        }
    }
}

/// The settings of one group, as the environment has them.
///
/// # Errors
///
/// What a service with these settings would say when it refuses to start.
pub(super) fn read<T: Args>() -> Result<T, String> {
    let command = T::augment_args(Command::new("orchestrator"));
    let matches = command.try_get_matches_from(["orchestrator"]);
    matches
        .and_then(|matches| T::from_arg_matches(&matches))
        .map_err(|error| sentence(&error))
}

/// What clap says, without what it says for a person who typed.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    first
        .trim_start_matches("error: ")
        .replace('\n', " ")
        .trim()
        .to_owned()
}
