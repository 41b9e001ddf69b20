//! Hooks: rows of who may send events, and what is made of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::job::{Reach, reach};
use super::runner::interval;
use super::{Executor, Result};
use crate::domain::hook::HookSpec;
use crate::domain::id::{HookId, ProjectId};
use crate::domain::page::{Cursor, Page};

/// A hook, without its secret.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its id.
    pub id: HookId,
    /// The project its jobs belong to.
    pub project: ProjectId,
    /// What the administrator wrote.
    pub spec: HookSpec,
    /// Until when the secret before this one is taken as well, if it still is.
    pub old_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last; its version.
    pub updated_at: DateTime<Utc>,
}

/// The columns of a hook as a whole.
struct Row {
    id: uuid::Uuid,
    project_id: uuid::Uuid,
    alias: String,
    name: String,
    provider: String,
    enabled: bool,
    spec: Value,
    old_secret_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn hook(self) -> Result<Hook> {
        let Value::Object(mut spec) = self.spec else {
            return Err(sqlx::Error::Decode("hook.spec is no object".into()).into());
        };
        spec.extend([
            ("name".to_owned(), Value::String(self.name)),
            ("project_id".to_owned(), Value::String(self.alias)),
            ("provider".to_owned(), Value::String(self.provider)),
            ("enabled".to_owned(), Value::Bool(self.enabled)),
        ]);
        let spec = serde_json::from_value(Value::Object(spec));
        Ok(Hook {
            id: HookId(self.id),
            project: ProjectId(self.project_id),
            spec: spec.map_err(|error| sqlx::Error::Decode(error.into()))?,
            old_secret_until: self.old_secret_until,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// What has no column of its own.
fn rest(spec: &HookSpec) -> Value {
    let HookSpec {
        options,
        filter,
        template,
        ..
    } = spec;
    json!({ "options": options, "filter": filter, "template": Map::clone(template) })
}

/// Makes a hook with a sealed secret; answers with when.
///
/// # Errors
///
/// [`super::Error::Statement`] with the constraint `hook_name_is_unique` when the name is taken.
pub async fn insert(
    db: impl Executor<'_>,
    id: HookId,
    project: ProjectId,
    spec: &HookSpec,
    secret: &[u8],
) -> Result<DateTime<Utc>> {
    let row = sqlx::query!(
        "insert into hook (id, project_id, name, provider, enabled, spec, secret) values ($1, $2, $3, $4, $5, $6, $7)
         returning updated_at",
        id.0,
        project.0,
        spec.name,
        spec.provider.as_str(),
        spec.enabled,
        rest(spec),
        secret,
    )
    .fetch_one(db)
    .await?;
    Ok(row.updated_at)
}

/// The hook named `name`, if the caller may see it.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn find(db: impl Executor<'_>, name: &str, projects: Reach<'_>) -> Result<Option<Hook>> {
    let projects = reach(projects);
    let row = sqlx::query_as!(
        Row,
        r#"
        select hook.id, hook.project_id, project.alias, hook.name, hook.provider, hook.enabled, hook.spec,
               case when old_secret_until > now() then old_secret_until end as old_secret_until,
               hook.created_at, hook.updated_at
          from hook join project on project.id = hook.project_id
         where hook.name = $1 and ($2::uuid[] is null or hook.project_id = any ($2))
        "#,
        name,
        projects.as_deref(),
    )
    .fetch_optional(db)
    .await?;
    row.map(Row::hook).transpose()
}

/// Hooks of the caller's projects, the newest first, a page at a time.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn page(
    db: impl Executor<'_>,
    projects: Reach<'_>,
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page<Hook>> {
    let projects = reach(projects);
    let rows = sqlx::query_as!(
        Row,
        r#"
        select hook.id, hook.project_id, project.alias, hook.name, hook.provider, hook.enabled, hook.spec,
               case when old_secret_until > now() then old_secret_until end as old_secret_until,
               hook.created_at, hook.updated_at
          from hook join project on project.id = hook.project_id
         where ($1::uuid[] is null or hook.project_id = any ($1)) and ($2::uuid is null or hook.id < $2)
         order by hook.id desc
         limit $3
        "#,
        projects.as_deref(),
        after.map(|cursor| cursor.0),
        i64::from(limit) + 1,
    )
    .fetch_all(db)
    .await?;
    let hooks = rows.into_iter().map(Row::hook).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(hooks, usize::from(limit), |hook| hook.id.0))
}

/// The sealed secrets that hold now, the newest first.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn secrets(db: impl Executor<'_>, id: HookId) -> Result<Vec<Vec<u8>>> {
    let row = sqlx::query!(
        "select secret, case when old_secret_until > now() then old_secret end as old_secret from hook where id = $1",
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row
        .into_iter()
        .flat_map(|row| [Some(row.secret), row.old_secret])
        .flatten()
        .collect())
}

/// Changes everything but name and secret, if the hook is still as it was at `seen`; answers with the
/// new version. `None`: somebody else changed it, or it is gone.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn update(
    db: impl Executor<'_>,
    id: HookId,
    seen: DateTime<Utc>,
    project: ProjectId,
    spec: &HookSpec,
) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!(
        // Strictly later, also when two changes fall into the same microsecond.
        "update hook
            set project_id = $3, provider = $4, enabled = $5, spec = $6,
                updated_at = greatest(now(), updated_at + interval '1 microsecond')
          where id = $1 and updated_at = $2
         returning updated_at",
        id.0,
        seen,
        project.0,
        spec.provider.as_str(),
        spec.enabled,
        rest(spec),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.updated_at))
}

/// Puts another secret in the place of the present one, which is taken for `overlap` more.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn replace_secret(
    db: impl Executor<'_>,
    id: HookId,
    secret: &[u8],
    overlap: Duration,
) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!(
        "update hook
            set old_secret = secret, old_secret_until = now() + $3, secret = $2,
                updated_at = greatest(now(), updated_at + interval '1 microsecond')
          where id = $1
         returning updated_at",
        id.0,
        secret,
        interval(overlap),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.updated_at))
}

/// Deletes a hook that is still as it was at `seen`, and what is known of its deliveries; its jobs stay.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn delete(db: impl Executor<'_>, id: HookId, seen: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query!("delete from hook where id = $1 and updated_at = $2", id.0, seen)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}
