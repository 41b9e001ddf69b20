//! Migrations, as many hosts start them.

use orchestrator::store::migrate::{Fit, fit};

use crate::support::{Program, empty_database};

#[tokio::test]
async fn twelve_migrations_at_once_all_succeed() {
    let database = empty_database().await;
    let environment = [("DATABASE_URL", database.url.expose())];
    let mut programs: Vec<_> = (0..12)
        .map(|_| Program::start(&["migrate"], &environment))
        .collect();
    for program in &mut programs {
        let status = program.end();
        assert!(status.success(), "{}", program.said());
    }
    assert!(matches!(fit(&database.pool()).await.unwrap(), Fit::Current));
}
