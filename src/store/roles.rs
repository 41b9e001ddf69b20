//! Who may do what in the database: the owner migrates, the services change rows, reporters read views.
//!
//! `migrate` makes the roles where it may, gives everything to the owner, works as the owner from
//! then on, and grants. Where it may not (a managed database, an ordinary user) it says what an
//! administrator has to do, and the services go on working as whoever they log in as.

use sqlx::PgConnection;

use super::Result;

/// Migrates, and owns what migrations make.
pub const OWNER: &str = "orchestrator_owner";
/// Changes rows; makes and drops nothing.
pub const APP: &str = "orchestrator_app";
/// Reads the views of schema `report`, and nothing else.
pub const REPORTER: &str = "orchestrator_reporter";

/// How the roles stand after a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Who migrated.
    pub user: String,
    /// Roles that are not there.
    pub missing: Vec<String>,
    /// Whether the tables are the owner's.
    pub owned: bool,
}

impl Standing {
    /// What an administrator has to do, if anything.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        if self.missing.is_empty() && self.owned {
            return None;
        }
        let user = &self.user;
        let mut text = match self.missing.as_slice() {
            [] => format!("the tables are not {OWNER}'s, because {user} may not act as that role."),
            missing => format!("{} missing, and {user} may not make roles.", are(missing)),
        };
        text.push_str(
            " The services work as whoever they log in as. To separate them, let an administrator run:\n",
        );
        for role in &self.missing {
            text.push_str(&format!("  create role {role} nologin;\n"));
        }
        text.push_str(&format!(
            "  grant {OWNER} to \"{user}\";\n  grant create on schema public to {OWNER};\n  \
             do $$ begin execute format('grant create on database %I to {OWNER}', current_database()); end $$;\n\
             and then run `orchestrator migrate` again\n"
        ));
        Some(text)
    }
}

fn are(roles: &[String]) -> String {
    let verb = if roles.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", roles.join(", "))
}

/// Makes the roles that are missing, if this session may, and becomes the owner, if it may.
pub(super) async fn prepare(session: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(include_str!("roles/create.sql"))
        .execute(&mut *session)
        .await?;
    sqlx::raw_sql(include_str!("roles/own.sql"))
        .execute(&mut *session)
        .await?;
    Ok(())
}

/// Grants each role what is its, and answers with how they stand.
pub(super) async fn grant(session: &mut PgConnection) -> Result<Standing> {
    sqlx::raw_sql(include_str!("roles/grant.sql"))
        .execute(&mut *session)
        .await?;
    let row = sqlx::query!(
        r#"
        select session_user::text as "user!",
               array(select name from unnest($1::text[]) as name where to_regrole(name) is null) as "missing!",
               coalesce((select relowner = to_regrole('orchestrator_owner') from pg_class
                          where oid = to_regclass('public.refinery_schema_history')), false) as "owned!"
        "#,
        &[OWNER, APP, REPORTER] as &[&str],
    )
    .fetch_one(session)
    .await?;
    Ok(Standing {
        user: row.user,
        missing: row.missing,
        owned: row.owned,
    })
}
