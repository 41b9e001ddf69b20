//! A database for each test, on the server that `DATABASE_URL` names.

use orchestrator::store::database::DatabaseUrl;
use orchestrator::store::migrate::migrate;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

/// A migrated database that is dropped with this.
pub(crate) struct Database {
    pub(crate) url: DatabaseUrl,
    name: String,
}

/// Makes a database and migrates it.
pub(crate) async fn database() -> Database {
    let name = format!("api_test_{}", Uuid::now_v7().simple());
    administrate(format!("create database {name}")).await;
    let mut url = server();
    url.set_path(&name);
    let url: DatabaseUrl = url.as_str().parse().unwrap();
    migrate(&url).await.unwrap();
    Database { url, name }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("drop database {} with (force)", self.name);
        // Dropping happens within a runtime, which cannot be waited for from within itself.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(administrate(statement));
        });
        let _ = dropped.join();
    }
}

async fn administrate(statement: String) {
    let mut connection = PgConnection::connect(server().as_str()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' only setting: where a server is"
)]
fn server() -> Url {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL names the server the tests may use");
    url.parse().unwrap()
}
