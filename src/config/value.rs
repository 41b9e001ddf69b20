//! How values of settings are written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::time::Duration;

use clap::Arg;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use crate::domain::agent::Version;
use crate::domain::environment::{Alias, DatabaseUrl, EnvironmentToken, InvalidUrl};
use crate::domain::name::is_name;

/// Several values of one setting; a type of its own, or the command line would take one at a time.
#[derive(Clone, Debug)]
pub struct List<T>(pub Vec<T>);

/// Reads what is logged: a level, or a filter by module.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(
            "must be error, warn, info, debug or trace, or a filter as orchestrator=debug,sqlx=warn".into(),
        ),
    }
}

/// Reads a value that may hold a secret: the error names the setting, never the value.
#[derive(Clone)]
pub struct Secretly<T>(pub(super) fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Secretly<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| "is no UTF-8".to_owned());
        text.and_then(self.0).map_err(|why| {
            let names = argument.map(names).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("{names} {why}\n")).with_cmd(command)
        })
    }
}

/// The flag and the variable of a setting.
fn names(argument: &Arg) -> String {
    let flag = argument.get_long().unwrap_or_default();
    let variable = argument.get_env().unwrap_or_default().to_string_lossy();
    format!("--{flag} (or {variable})")
}

/// Reads where PostgreSQL is.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_database_url(text: &str) -> Result<DatabaseUrl, String> {
    text.parse().map_err(|error: InvalidUrl| error.to_string())
}

/// Reads a duration in seconds, as `30` or `0.5`; more than 0, at most a day.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .trim()
        .parse()
        .map_err(|_| "must be a number of seconds, as 30 or 0.5".to_owned())?;
    if seconds > 0.0 && seconds <= 86400.0 {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err("must be more than 0 and at most 86400 seconds".into())
}

/// Reads how long something is kept, in whole seconds; 0 is for ever, and a hundred years the most.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_ttl(text: &str) -> Result<Duration, String> {
    match text.trim().parse() {
        Ok(seconds @ 0..=3_155_760_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds from 0 (for ever) to 3155760000".into()),
    }
}

/// Reads names or absolute paths of programs, separated by commas.
///
/// # Errors
///
/// Which is none.
pub(super) fn parse_programs(text: &str) -> Result<List<String>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = |entry: &str| match entry.starts_with('/') || !entry.contains('/') {
        true => Ok(entry.to_owned()),
        false => Err(format!("{entry:?} is neither a name nor an absolute path")),
    };
    entries.map(read).collect::<Result<_, _>>().map(List)
}

/// Reads `git=2.39,claude=2.0`.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_versions(text: &str) -> Result<List<(String, Version)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = |entry: &str| {
        let (name, version) = entry
            .split_once('=')
            .ok_or_else(|| format!("{entry:?} is not NAME=VERSION"))?;
        let version = version.parse().map_err(|why| format!("{entry:?}: {why}"))?;
        match name.is_empty() || name.contains('/') {
            true => Err(format!("{entry:?} names no program; write NAME=VERSION")),
            false => Ok((name.to_owned(), version)),
        }
    };
    entries.map(read).collect::<Result<_, _>>().map(List)
}

/// Reads an amount of US dollars, as millionths.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_usd(text: &str) -> Result<i64, String> {
    match text.trim().parse::<f64>() {
        Ok(usd) if (0.0..=1e9).contains(&usd) => Ok((usd * 1e6).round() as i64),
        _ => Err("must be an amount of US dollars from 0 to 1000000000, as 12.50".to_owned()),
    }
}

/// Reads the address callers reach the API at.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_public_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => Ok(url),
        _ => Err("must be an http or https URL, as https://jobs.example.com".into()),
    }
}

/// Reads `name=value,other=value`, the headers of a request. Errors name entries by their place: an entry holds a secret.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_headers(text: &str) -> Result<List<(String, SecretString)>, String> {
    let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let read = |(place, entry): (usize, &str)| match entry.split_once('=') {
        Some((name, value)) if is_token(name) && is_plain(value) => {
            Ok((name.to_ascii_lowercase(), SecretString::from(value.to_owned())))
        }
        _ => Err(format!(
            "entry {} must be NAME=VALUE, a header in ASCII",
            place + 1
        )),
    };
    entries(text)
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()
        .map(List)
}

/// A header's name.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Reads a share, from 0 to 1.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1, as 0.1".into()),
    }
}

/// Reads `127.0.0.1,10.0.0.0/8,::1`: addresses and networks.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_networks(text: &str) -> Result<List<IpNet>, String> {
    let read = |entry: &str| {
        let network = entry
            .parse::<IpNet>()
            .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network.prefix_len() == 0 => Err(format!(
                "{entry} is everybody, and so everybody's word would be taken; name the proxies"
            )),
            Ok(network) => Ok(network.trunc()),
            Err(_) => Err(format!(
                "{entry:?} is neither an address nor a network, as 127.0.0.1 or 10.0.0.0/8"
            )),
        }
    };
    entries(text).map(read).collect::<Result<_, _>>().map(List)
}

/// Reads `https://ui.example.com,http://localhost:3000`, or `*`.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_origins(text: &str) -> Result<List<String>, String> {
    let read = |entry: &str| match Url::parse(entry) {
        _ if entry == "*" => Ok(entry.to_owned()),
        // What a browser sends has neither path nor slash at the end.
        Ok(url)
            if matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == entry =>
        {
            Ok(entry.to_owned())
        }
        _ => Err(format!(
            "{entry:?} is no origin: write scheme and host as a browser does, https://ui.example.com, or * for all"
        )),
    };
    entries(text).map(read).collect::<Result<_, _>>().map(List)
}

/// Reads `one,two,three`: names, each once.
///
/// # Errors
///
/// What is allowed.
pub(super) fn parse_names(text: &str) -> Result<List<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !is_name(name) {
            return Err(format!(
                "{name:?} is no name: 1–128 letters, digits, `.`, `_` or `-`"
            ));
        }
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    Ok(List(names))
}

/// Reads `name=/absolute/path,other=/path`.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_aliases(text: &str) -> Result<List<Alias>, String> {
    let mut seen = BTreeSet::new();
    let read = |entry: &str| {
        let (alias, directory) = entry
            .split_once('=')
            .ok_or(format!("{entry:?} must be NAME=/ABSOLUTE/PATH"))?;
        if !is_name(alias) {
            return Err(format!(
                "{alias:?} is no alias: 1–128 letters, digits, `.`, `_` or `-`"
            ));
        }
        if !directory.starts_with('/') {
            return Err(format!("{alias}: {directory:?} is no absolute path"));
        }
        if !seen.insert(alias.to_owned()) {
            return Err(format!("{alias} is there twice"));
        }
        Ok(Alias {
            alias: alias.into(),
            directory: directory.into(),
        })
    };
    entries(text).map(read).collect::<Result<_, _>>().map(List)
}

/// Reads `token-a=project1|project2,token-b=*`. Errors name entries by their place: an entry holds a secret.
///
/// # Errors
///
/// Which entry is wrong, and what is allowed.
pub(super) fn parse_tokens(text: &str) -> Result<List<EnvironmentToken>, String> {
    let read = |(place, entry): (usize, &str)| {
        let wrong = |what: &str| format!("entry {} {what}", place + 1);
        let (secret, projects) = entry
            .rsplit_once('=')
            .ok_or(wrong("must be TOKEN=PROJECT|PROJECT or TOKEN=*"))?;
        if secret.is_empty() {
            return Err(wrong("has an empty token"));
        }
        let projects: Vec<String> = projects.split('|').map(str::to_owned).collect();
        if projects == ["*"] {
            return Ok(EnvironmentToken {
                secret: SecretString::from(secret.to_owned()),
                projects: None,
            });
        }
        if let Some(odd) = projects.iter().find(|alias| !is_name(alias)) {
            return Err(wrong(&format!("names {odd:?}, which is no alias")));
        }
        Ok(EnvironmentToken {
            secret: SecretString::from(secret.to_owned()),
            projects: Some(projects),
        })
    };
    entries(text)
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()
        .map(List)
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_and_at_most_a_day() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "86401", "1m", "", "NaN", "inf"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks_and_never_everybody() {
        let networks = parse_networks("127.0.0.1, 10.1.2.3/8,::1").unwrap().0;
        let shown: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]);
        for bad in ["proxy", "0.0.0.0/0", "::/0", "10.0.0.0/33", "127.0.0.1:80"] {
            let error = parse_networks(bad).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        let origins = parse_origins("https://ui.example.com,http://localhost:3000,*")
            .unwrap()
            .0;
        assert_eq!(origins.len(), 3);
        for bad in [
            "ui.example.com",
            "https://a.example/",
            "https://a.example:443",
            "null",
            "ftp://a",
        ] {
            assert!(parse_origins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_are_names_of_absolute_paths_and_each_is_there_once() {
        let aliases = parse_aliases("a=/srv/a, b.c=/srv/b=c,").unwrap().0;
        assert_eq!(
            aliases[1],
            Alias {
                alias: "b.c".into(),
                directory: "/srv/b=c".into()
            }
        );
        for bad in ["a", "a=srv", "../a=/srv", "a=/x,a=/y"] {
            assert!(parse_aliases(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_header_is_named_by_its_place_and_never_shown() {
        assert_eq!(parse_headers("X-Key=a=b, y=c").unwrap().0.len(), 2);
        for bad in ["a=b,s3cret", "a=b,s3 cret=x", "a=b,x=s3crét", "a=b,=s3cret"] {
            let error = parse_headers(bad).unwrap_err();
            assert!(error.contains("entry 2") && !error.contains("s3cr"), "{error}");
        }
        for bad in ["-0.1", "1.1", "NaN", "half", ""] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_token_entry_is_named_by_its_place_and_never_shown() {
        let tokens = parse_tokens("token-a=p1|p2,to=ken=*").unwrap().0;
        assert_eq!(
            tokens[0].projects.as_deref(),
            Some(&["p1".to_owned(), "p2".to_owned()][..])
        );
        assert!(tokens[1].projects.is_none());
        for bad in ["ok=*,s3cret", "ok=*,s3cret=a b", "ok=*,=*"] {
            let error = parse_tokens(bad).unwrap_err();
            assert!(error.contains("entry 2") && !error.contains("s3cret"), "{error}");
        }
    }
}
