//! What operators ask for a project.

use garde::Validate;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::name::is_name;
use super::policy::{Network, Policy};
use super::problem::{Violation, read_valid};

/// Most US dollars a limit may be.
const MAX_COST: f64 = 1e9;

/// A project to be made.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// What callers name it by.
    #[garde(custom(alias_shape))]
    #[schema(example = "demo", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    pub alias: String,
    /// Where its source lies, an absolute path on every host that runs its jobs.
    #[garde(custom(absolute))]
    #[schema(example = "/srv/demo", pattern = "^/", max_length = 4096)]
    pub directory: String,
    /// What it is, for people.
    #[garde(custom(short))]
    #[serde(default)]
    #[schema(max_length = 2000, default = "", example = "The shop's back end")]
    pub description: String,
    /// How many of its jobs may run at once; null or absent is no limit. Holds for jobs that come in from then on.
    #[garde(inner(range(min = 1, max = 32_767)))]
    #[schema(minimum = 1, maximum = 32_767, example = 4)]
    pub max_running: Option<i16>,
    /// Most calls to agents of its jobs in a day (UTC); null or absent is no limit beside the host's.
    #[garde(inner(range(min = 0)))]
    #[schema(minimum = 0, example = 500)]
    pub max_daily_calls: Option<i32>,
    /// Most US dollars its jobs' agents may cost in a day (UTC), to the cent; null or absent is no limit beside the host's.
    #[garde(inner(range(min = 0.0, max = MAX_COST)))]
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 25.0)]
    pub max_daily_cost_usd: Option<f64>,
    /// `false` lets its steps run without a sandbox, where hosts would have one: an administrator's word, which every
    /// job of it and every log says.
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true, example = true)]
    pub sandbox: bool,
    /// What its jobs may do, within what their host allows. A job may ask for less, never for more.
    #[garde(dive, custom(narrow))]
    #[serde(default)]
    pub policy: Policy,
}

/// What is to be changed of a project; what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectChange {
    /// Where its source lies, an absolute path.
    #[garde(inner(custom(absolute)))]
    #[schema(example = "/srv/demo", pattern = "^/", max_length = 4096)]
    pub directory: Option<String>,
    /// What it is, for people.
    #[garde(inner(custom(short)))]
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// How many of its jobs may run at once; null is no limit.
    #[garde(inner(inner(range(min = 1, max = 32_767))))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i16>, minimum = 1, maximum = 32_767, example = 4)]
    pub max_running: Option<Option<i16>>,
    /// Most calls to agents of its jobs in a day (UTC); null is no limit beside the host's.
    #[garde(inner(inner(range(min = 0))))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, minimum = 0, example = 500)]
    pub max_daily_calls: Option<Option<i32>>,
    /// Most US dollars its jobs' agents may cost in a day (UTC), to the cent; null is no limit beside the host's.
    #[garde(inner(inner(range(min = 0.0, max = MAX_COST))))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000, example = 25.0)]
    pub max_daily_cost_usd: Option<Option<f64>>,
    /// `false` lets its steps run without a sandbox, where hosts would have one.
    #[garde(skip)]
    #[schema(example = true)]
    pub sandbox: Option<bool>,
    /// What its jobs may do; takes the place of the whole policy.
    #[garde(dive, custom(narrow_if_given))]
    pub policy: Option<Policy>,
}

impl NewProject {
    /// Reads and checks a request.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        read_valid(json)
    }
}

impl ProjectChange {
    /// Reads and checks a request.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Violation>> {
        read_valid(json)
    }
}

fn yes() -> bool {
    true
}

/// Tells a field that is null from one that is absent.
fn present<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

fn alias_shape(alias: &str, (): &()) -> garde::Result {
    match is_name(alias) {
        true => Ok(()),
        false => refuse("must be 1–128 letters, digits, `.`, `_` or `-`, and begin with a letter or digit"),
    }
}

fn absolute(directory: &str, (): &()) -> garde::Result {
    let is_plain = directory.len() <= 4096 && !directory.contains(char::is_control);
    let climbs = directory.split('/').any(|part| matches!(part, "." | ".."));
    match directory.starts_with('/') && is_plain && !climbs {
        true => Ok(()),
        false => refuse(
            "must be an absolute path of at most 4096 bytes, without `.` and `..` and control characters",
        ),
    }
}

fn short(text: &str, (): &()) -> garde::Result {
    match text.chars().count() <= 2000 && !text.contains('\0') {
        true => Ok(()),
        false => refuse("must be at most 2000 characters, without NUL"),
    }
}

fn narrow(policy: &Policy, (): &()) -> garde::Result {
    if policy.sandbox == Some(false) {
        return refuse(
            "a policy only narrows; an administrator turns the sandbox off with the project's own `sandbox: false`, or for a host with SANDBOX=off",
        );
    }
    if policy.network == Some(Network::Allow) {
        return refuse(
            "a project cannot open the network; that is said on its runners' hosts, with NETWORK_POLICY=allow",
        );
    }
    Ok(())
}

fn narrow_if_given(policy: &Option<Policy>, (): &()) -> garde::Result {
    policy.as_ref().map_or(Ok(()), |policy| narrow(policy, &()))
}

fn refuse<T>(reason: &str) -> Result<T, garde::Error> {
    Err(garde::Error::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_no_limit_from_no_change() {
        let read = |text: &str| ProjectChange::read(text.as_bytes()).unwrap().max_running;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"max_running": null}"#), Some(None));
        assert_eq!(read(r#"{"max_running": 4}"#), Some(Some(4)));
    }

    #[test]
    fn what_would_climb_or_widen_is_refused_with_its_path() {
        for (field, value) in [
            ("alias", "\"../x\""),
            ("directory", "\"srv\""),
            ("directory", "\"/srv/../etc\""),
            ("directory", "\"/srv/a\\nb\""),
            ("max_running", "0"),
            ("policy", r#"{"sandbox": false}"#),
            ("policy", r#"{"network": "allow"}"#),
            ("policy.limits.pids", "x"),
        ] {
            let mut project = serde_json::json!({"alias": "a", "directory": "/srv/a"});
            match field {
                "policy.limits.pids" => project["policy"] = serde_json::json!({"limits": {"pids": 0}}),
                field => project[field] = serde_json::from_str(value).unwrap(),
            }
            let errors = NewProject::read(project.to_string().as_bytes()).unwrap_err();
            assert_eq!(errors[0].path, field, "{errors:?}");
        }
    }
}
