//! What programs print, and what they read.

use orchestrator::runner::process::{End, Stream};

use super::runner::Ground;
use super::{command, eventually, run, shell};

#[tokio::test]
async fn both_streams_arrive_whole_and_apart() {
    let (outcome, printed) = run(shell("echo out; echo err >&2; printf 'no newline'", &[])).await;
    assert_eq!(outcome.unwrap().output_bytes, 18);
    assert_eq!(printed.of(Stream::Stdout), b"out\nno newline");
    assert_eq!(printed.of(Stream::Stderr), b"err\n");
}

#[tokio::test]
async fn bytes_arrive_as_they_were_printed() {
    let (_, printed) = run(shell(r"printf 'a\000b\377\342\202'", &[])).await;
    assert_eq!(printed.of(Stream::Stdout), b"a\0b\xff\xe2\x82");
}

#[tokio::test]
async fn a_program_that_closes_its_streams_goes_on() {
    let (outcome, printed) = run(shell("echo last; exec >&- 2>&-; sleep 0.3; exit 7", &[])).await;
    assert_eq!(outcome.unwrap().end, End::Exited(7));
    assert_eq!(printed.text(), "last\n");
}

#[tokio::test]
async fn what_was_printed_just_before_the_end_is_not_lost() {
    // As much as the pipes hold, printed at once, with nobody reading until the program is gone.
    let (outcome, printed) = run(shell(
        "head -c 65536 /dev/zero; head -c 65536 /dev/zero >&2; kill -KILL $$",
        &[],
    ))
    .await;
    assert_eq!(outcome.unwrap().end, End::Signalled(9));
    assert_eq!(printed.of(Stream::Stdout).len(), 65536);
    assert_eq!(printed.of(Stream::Stderr).len(), 65536);
}

#[tokio::test]
async fn standard_input_is_empty_unless_it_is_fed() {
    let (outcome, printed) = run(command(&["cat"])).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    assert_eq!(printed.text(), "");

    let mut fed = command(&["cat"]);
    fed.stdin = Some(vec![b'x'; 3_000_000]);
    let (outcome, printed) = run(fed).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    assert_eq!(printed.text().len(), 3_000_000);
}

#[tokio::test]
async fn a_program_need_not_read_what_it_is_given() {
    let mut unread = command(&["true"]);
    unread.stdin = Some(vec![b'x'; 3_000_000]);
    assert_eq!(run(unread).await.0.unwrap().end, End::Exited(0));
}

#[tokio::test]
async fn a_megabyte_of_arguments_arrives() {
    let argument = "x".repeat(16 * 1024);
    let many = vec![argument.as_str(); 64];
    let (outcome, printed) = run(shell(r#"echo $#; printf %s "$@" | wc -c"#, &many)).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    assert_eq!(printed.text(), "64\n1048576\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_prints_goes_on_while_nothing_can_be_written_and_all_of_it_is_kept() {
    let ground = Ground::bare(&[("RUNNER_RECLAIM_AFTER_SEC", "600")]).await;
    let (go, done) = (ground.directory.join("go"), ground.directory.join("done"));
    std::fs::create_dir(&done).unwrap();
    std::fs::set_permissions(&done, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = r#"
        echo begun; while [ ! -e "$1" ]; do sleep 0.05; done
        i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo "$i is a line of some length, as programs print that tell how far they are"; done
        touch "$2/it""#;
    let (go_at, done_at) = (go.to_str().unwrap(), done.to_str().unwrap());
    let job = ground.submit(&["sh", "-c", script, "sh", go_at, done_at]).await;
    crate::support::until(async || (ground.log(job, "stdout").await == "begun\n").then_some(())).await;
    let mut holder = ground.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin; lock table log in access exclusive mode")
        .execute(&mut *holder)
        .await
        .unwrap();
    std::fs::write(&go, "").unwrap();
    tokio::task::block_in_place(|| eventually("the step goes on to its end", || done.join("it").exists()));
    sqlx::raw_sql("commit").execute(&mut *holder).await.unwrap();
    drop(holder);
    assert_eq!(ground.end(job).await, "succeeded");
    let said = ground.log(job, "stdout").await;
    let numbers = said
        .lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap().parse::<u32>().unwrap());
    assert!(numbers.eq(1..=6000));
}
