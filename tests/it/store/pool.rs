//! Connections: who gets which, and what becomes of one that is no longer good.

#![expect(clippy::disallowed_methods, reason = "transactions are what is looked at")]

use futures_util::future::join_all;
use orchestrator::store::{Pool, database};

use crate::support::{self, ask, until};

fn pool(of: &support::Database, most: u32) -> Pool {
    database::pool(&of.url, "pooled", most).unwrap()
}

async fn backend(pool: &Pool) -> String {
    ask(pool, "pg_backend_pid()").await
}

/// How many connections of the pools of this test the server has.
async fn open(of: &support::Database) -> String {
    let others = database::pool(&of.url, "looks", 1).unwrap();
    ask(
        &others,
        "select count(*) from pg_stat_activity where application_name = 'pooled' and datname = current_database()",
    )
    .await
}

#[tokio::test]
async fn statements_one_after_the_other_take_the_same_connection_however_many_there_are() {
    let database = support::database().await;
    let pool = pool(&database, 6);
    join_all((0..6).map(|_| ask(&pool, "select pg_sleep(0.05)"))).await;
    let first = backend(&pool).await;
    for _ in 0..20 {
        assert_eq!(backend(&pool).await, first);
    }
}

#[tokio::test]
async fn transactions_get_every_connection_there_is_also_those_that_statements_used() {
    let database = support::database().await;
    for most in 1..=6 {
        let pool = pool(&database, most);
        join_all((0..most).map(|_| backend(&pool))).await;
        let mut held = Vec::new();
        for _ in 0..most {
            held.push(pool.begin().await.unwrap());
        }
        drop(held);
        // At once, too, and while nothing else is asked.
        join_all((0..most).map(|_| backend(&pool))).await;
        let held = join_all((0..most).map(|_| pool.begin())).await;
        drop(held.into_iter().map(Result::unwrap).collect::<Vec<_>>());
        join_all((0..most).map(|_| backend(&pool))).await;
        let mut held = Vec::new();
        for _ in 0..most {
            held.push(pool.acquire().await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_statements_and_transactions_at_once_all_come_to_their_end() {
    let database = support::database().await;
    for most in [1, 2, 5] {
        let pool = pool(&database, most);
        let some = (0..200).map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move {
                if number % 3 == 0 {
                    let mut transaction = pool.begin().await.unwrap();
                    sqlx::query("select 1").execute(&mut *transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                } else {
                    backend(&pool).await;
                }
            })
        });
        join_all(some).await.into_iter().for_each(|one| one.unwrap());
    }
}

#[tokio::test]
async fn a_statement_that_is_given_up_takes_nobody_elses_answer_and_no_connection_for_ever() {
    let database = support::database().await;
    let (one, two) = (pool(&database, 1), pool(&database, 2));
    for round in 0..10 {
        let pool = if round % 2 == 0 { &one } else { &two };
        let long = ask(pool, "select pg_sleep(0.2)");
        let hasty = tokio::time::timeout(std::time::Duration::from_millis(20), long);
        assert!(hasty.await.is_err());
        assert_eq!(ask(pool, &format!("{round} + 1")).await, (round + 1).to_string());
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ended_fails_one_statement_at_most() {
    let database = support::database().await;
    let pool = pool(&database, 4);
    let other = database.pool();
    for _ in 0..5 {
        join_all((0..4).map(|_| ask(&pool, "select pg_sleep(0.01)"))).await;
        let ended = backend(&pool).await;
        assert_eq!(
            ask(&other, &format!("pg_terminate_backend({ended}, 10000)")).await,
            "true"
        );
        let hit = sqlx::query_scalar::<_, i32>("select pg_backend_pid()")
            .fetch_one(&pool)
            .await;
        if let Err(error) = hit {
            let error = orchestrator::store::Error::from(error);
            assert!(error.is_unavailable(), "{error}");
        }
        assert_ne!(backend(&pool).await, ended);
    }
}

#[tokio::test]
async fn a_pool_that_is_closed_or_gone_leaves_no_connection() {
    let database = support::database().await;
    let closed = pool(&database, 4);
    join_all((0..4).map(|_| backend(&closed))).await;
    closed.close().await;
    until(async || (open(&database).await == "0").then_some(())).await;
    let gone = pool(&database, 4);
    join_all((0..4).map(|_| backend(&gone))).await;
    drop(gone);
    until(async || (open(&database).await == "0").then_some(())).await;
}

#[tokio::test]
async fn what_sees_what_does_not_depend_on_how_the_database_was_set_up() {
    let database = support::database().await;
    let name = ask(&database.pool(), "current_database()").await;
    let set = format!("alter database \"{name}\" set default_transaction_isolation = 'serializable'");
    support::tell(&database.pool(), &set).await;
    let pool = pool(&database, 1);
    let mut transaction = pool.begin().await.unwrap();
    let isolation: String = sqlx::query_scalar("show transaction_isolation")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(isolation, "read committed");
}
