//! Small houses with and without faults, so that the scan cannot rot into finding nothing.

use super::{faults, test_files, too_large};

/// The lines at which `source` breaks a rule when it stands at `src/{file}`.
fn bad_lines(file: &str, source: &str) -> Vec<usize> {
    faults(file, source)
        .iter()
        .map(|fault| {
            let place = fault.strip_prefix(&format!("src/{file}:")).unwrap();
            place.split(':').next().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn a_path_to_a_floor_above_is_found_however_it_is_written() {
    let ways = [
        "fn f() { crate::app::submit(); }",
        "use crate::app::submit;",
        "use crate::{domain::Job, app};",
        "use crate::{domain::{Job, Step}, app::{self, submit}};",
        "use super::super::app::submit;",
        "use super::super::{app, domain};",
        "mod inner { use super::super::super::app::submit; }",
        "use crate as house; fn f() { house::app::submit(); }",
        "use crate::*;",
        "pub(super) fn f(x: &crate::app::Error) {}",
        "#[derive(Debug)] struct A { b: Vec<Option<crate::app::B>> }",
        "fn f() { format!(\"{}\", crate::app::x()); }",
        "#[cfg(not(test))] use crate::app::submit;",
        "impl From<crate::app::Error> for Error {}",
    ];
    for way in ways {
        assert!(!bad_lines("store/job.rs", way).is_empty(), "not found: {way}");
    }
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let good = "\
        //! See crate::app::submit.\n\
        /// [`crate::app::submit`] and `use crate::api::x;`\n\
        /* crate::app */\n\
        const A: &str = \"crate::app::submit sqlx::query!\";\n\
        use crate::domain::Job;\n\
        use super::Error;\n\
        #[cfg(test)]\n\
        mod tests { use crate::app::submit; fn f() { std::env::var(\"A\"); } }\n\
        #[cfg(test)] #[allow(unused)] use crate::app::submit;\n\
        fn own() { crate::store::job::find(); }\n";
    assert_eq!(faults("store/job.rs", good), Vec::<String>::new());
}

#[test]
fn what_follows_a_test_item_is_read_again() {
    let source = "#[cfg(test)]\nuse crate::domain::A;\nuse crate::app::B;\n#[cfg(test)]\nmod t { }\nuse crate::api::C;\n";
    assert_eq!(bad_lines("store/job.rs", source), [3, 6]);
}

#[test]
fn files_of_a_test_module_are_tests() {
    assert_eq!(
        test_files("store/job.rs", "#[cfg(test)]\nmod tests;\nmod real;"),
        ["store/job/tests.rs", "store/job/tests/"]
    );
}

#[test]
fn siblings_never_name_each_other() {
    for (file, path) in [
        ("api/jobs.rs", "crate::runner::Settings"),
        ("api.rs", "crate::scheduler::run"),
        ("runner/step.rs", "crate::api::auth"),
        ("runner.rs", "crate::scheduler::run"),
        ("scheduler.rs", "crate::runner::run"),
        ("app/submit.rs", "crate::api::Problem"),
        ("domain/job.rs", "crate::store::Pool"),
        ("postgres.rs", "crate::domain::clock"),
        ("config.rs", "crate::store::Pool"),
        ("store.rs", "crate::cli::output"),
    ] {
        assert_eq!(
            bad_lines(file, &format!("\nfn f(x: {path}) {{}}")),
            [2],
            "{file} names {path}"
        );
    }
    assert_eq!(
        bad_lines(
            "cli/dev.rs",
            "use crate::{api, app, domain, postgres, runner, scheduler, store};"
        ),
        Vec::<usize>::new()
    );
}

#[test]
fn runner_and_scheduler_change_tables_through_app() {
    let calls = "use crate::store::{self, log};\nfn f() { store::job::insert(); log::append(); }\nuse crate::store::claim::claim;";
    assert_eq!(bad_lines("runner/session.rs", calls), [2, 2, 3]);
    let values = "use crate::store::{Pool, Result, log};\nuse crate::store::listen;\nuse crate::store::claim::Claimed;\n\
                  fn f(x: log::NewLine) { listen::open(); }";
    assert_eq!(faults("runner/session.rs", values), Vec::<String>::new());
}

#[test]
fn effects_outside_their_rooms_are_found() {
    for (file, source) in [
        ("app/submit.rs", "fn f() { sqlx::query!(\"select 1\"); }"),
        ("api/jobs.rs", "use sqlx::{Row, query_as};"),
        (
            "api/jobs.rs",
            "use sqlx as database; fn f() { database::query(\"\"); }",
        ),
        ("api/jobs.rs", "use sqlx::*;"),
        ("runner/step.rs", "fn f() { std::env::var_os(\"PATH\"); }"),
        ("runner/step.rs", "use std::env; fn f() { env::vars(); }"),
        ("runner/step.rs", "use std::{env::var, fs};"),
        ("runner/step.rs", "use tokio::process::Command;"),
        ("cli/dev.rs", "use tokio::{process, time};"),
        ("runner/step.rs", "fn f() { std::process::Command::new(\"ls\"); }"),
        ("store/job.rs", "async fn f(pool: &Pool) { pool.begin().await; }"),
        ("domain/job.rs", "#[derive(sqlx::Type)] struct A;"),
        ("domain.rs", "use tokio::time::Instant;"),
    ] {
        assert_eq!(bad_lines(file, source), [1], "{file}: {source}");
    }
    for (file, source) in [
        ("store/job.rs", "fn f() { sqlx::query!(\"select 1\"); }"),
        ("app/submit.rs", "async fn f(pool: &Pool) { pool.begin().await; }"),
        (
            "config/value.rs",
            "use std::env; fn f() { env::var_os(\"PATH\"); }",
        ),
        ("runner/process/spawn.rs", "use tokio::process::Command;"),
        ("postgres/cluster.rs", "use std::process::Command;"),
        (
            "runner/step.rs",
            "use super::process::{self, Command}; fn f() { process::run(); std::process::id(); }",
        ),
        (
            "api/jobs.rs",
            "use sqlx::types::Json; fn f() { let begin = 1; work.begin(job); env!(\"CARGO_PKG_VERSION\"); }",
        ),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

#[test]
fn a_room_of_451_lines_is_too_large() {
    assert_eq!(too_large("src/a.rs", &"\n".repeat(450)), None);
    let fault = too_large("src/a.rs", &"\n".repeat(451)).unwrap();
    assert!(fault.contains("451 lines") && fault.contains("split"), "{fault}");
}

#[test]
fn a_fault_names_place_rule_and_remedy() {
    let faults = faults("store/job.rs", "\nuse crate::app::submit;");
    assert_eq!(
        faults,
        [
            "src/store/job.rs:2: `store` names `crate::app::submit`, and may name only domain: \
          take what is needed as a value, or move the code up a floor"
        ]
    );
}
