//! Variables whose values must not be seen.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the room that reads the environment"
)]

use clap::Args;
use secrecy::ExposeSecret as _;
use url::Url;

use super::value::parse_tokens;

/// Variables that usually hold secrets, where services and agents look for theirs.
const USUAL: &str = "ANTHROPIC_API_KEY,ANTHROPIC_AUTH_TOKEN,CLAUDE_CODE_OAUTH_TOKEN,OPENAI_API_KEY,CODEX_API_KEY,\
    GEMINI_API_KEY,GOOGLE_API_KEY,KIMI_API_KEY,KIMI_MODEL_API_KEY,MOONSHOT_API_KEY,OPENROUTER_API_KEY,GROQ_API_KEY,XAI_API_KEY,\
    MISTRAL_API_KEY,DEEPSEEK_API_KEY,GITHUB_TOKEN,GH_TOKEN,GITLAB_TOKEN,NPM_TOKEN,AWS_SECRET_ACCESS_KEY,\
    AWS_SESSION_TOKEN,AZURE_API_KEY,DATABASE_URL,PGPASSWORD,WEBHOOK_TOKENS";

/// What must not leave a runner.
#[derive(Args, Clone, Debug)]
#[group(id = "sensitive_settings")]
pub struct Sensitive {
    /// Variables whose values, from 8 characters, are taken out of everything steps print or leave behind: those of
    /// this process's environment and those a job gives its steps
    #[arg(long, env = "SENSITIVE_ENV_VARS", value_name = "LIST", default_value = USUAL, hide_default_value = true,
          value_delimiter = ',')]
    pub sensitive_env_vars: Vec<String>,
}

impl Sensitive {
    /// What these variables hold in this process's environment.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.sensitive_env_vars
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| secrets_in(name, value)))
            .flatten()
            .collect()
    }
}

/// The value, and the secrets within it where it has a form of ours.
fn secrets_in(name: &str, value: String) -> Vec<String> {
    let within = match name {
        "DATABASE_URL" => Url::parse(&value)
            .ok()
            .and_then(|url| url.password().map(str::to_owned))
            .into_iter()
            .collect(),
        "WEBHOOK_TOKENS" => parse_tokens(&value).map_or_else(
            |_| Vec::new(),
            |tokens| {
                tokens
                    .0
                    .iter()
                    .map(|token| token.secret.expose_secret().to_owned())
                    .collect()
            },
        ),
        _ => Vec::new(),
    };
    [vec![value], within].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_within_our_own_settings_are_secrets_too() {
        let found = secrets_in("WEBHOOK_TOKENS", "token-a=p,token-bb=*".into());
        assert_eq!(found, ["token-a=p,token-bb=*", "token-a", "token-bb"]);
        let found = secrets_in("DATABASE_URL", "postgresql://me:s3cret-word@h/d".into());
        assert_eq!(found[1], "s3cret-word");
        assert_eq!(secrets_in("OTHER", "x".into()), ["x"]);
    }
}
