//! `docs/REPORTING.md` word for word: each question is asked, as a reporter, and answered as it says there.

use std::process::Command;

use orchestrator::domain::environment::DatabaseUrl;

use super::roll_up_all;
use crate::support::{ask, database, programs, tell};

const DOCUMENT: &str = include_str!("../../../docs/REPORTING.md");

/// A question and the answer the document gives.
struct Question {
    view: String,
    sql: String,
    answer: String,
}

fn questions() -> Vec<Question> {
    let sections = DOCUMENT.split("\n### ").skip(1);
    sections
        .map(|section| {
            let block = |language: &str| {
                let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
                rest.split_once("```").unwrap().0.to_owned()
            };
            Question {
                view: section.lines().next().unwrap().to_owned(),
                sql: block("sql"),
                answer: block("text"),
            }
        })
        .collect()
}

/// What psql prints, without the blanks at the ends of lines.
fn psql(url: &DatabaseUrl, sql: &str) -> String {
    let output = Command::new(programs().path("psql"))
        .args([
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--command",
            sql,
            url.expose(),
        ])
        .env("PGTZ", "UTC")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{sql}\n{err}");
    out.trim_end()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

#[tokio::test]
async fn every_question_of_the_document_has_the_answer_it_gives() {
    let database = database().await;
    let pool = database.pool();
    tell(&pool, include_str!("seed.sql")).await;
    roll_up_all(&pool).await;
    let reporter = database.login(Some("orchestrator_reporter")).await;
    for question in questions() {
        assert!(
            question.sql.contains(&question.view),
            "{} is not asked",
            question.view
        );
        assert_eq!(
            psql(&reporter, &question.sql),
            question.answer,
            "{}",
            question.sql
        );
    }
}

#[tokio::test]
async fn every_view_has_a_question_and_every_view_a_comment() {
    let database = database().await;
    let pool = database.pool();
    let views = ask(
        &pool,
        "select string_agg(relname, ' ' order by relname) from pg_class
                             where relnamespace = 'report'::regnamespace and relkind = 'v'",
    )
    .await;
    let asked: Vec<String> = questions().into_iter().map(|question| question.view).collect();
    for view in views.split(' ') {
        assert!(
            asked.contains(&format!("report.{view}")),
            "docs/REPORTING.md asks report.{view} nothing"
        );
        let comment = ask(&pool, &format!("obj_description('report.{view}'::regclass)")).await;
        assert!(comment.len() > 20, "report.{view} says nothing of itself");
    }
    let open = "select string_agg(relname, ' ') from pg_class where relnamespace = 'report'::regnamespace and relkind = 'v'
                   and not coalesce(reloptions @> array['security_barrier=true'], false)";
    assert_eq!(ask(&pool, open).await, "null", "views that are no barrier");
}
