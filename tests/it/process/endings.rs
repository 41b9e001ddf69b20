//! How programs end, and how they are made to.

use std::time::Duration;

use orchestrator::runner::process::{self, Chunk, End};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{command, run, run_until, shell, supervisor};

async fn end_of(script: &str) -> End {
    run(shell(script, &[])).await.0.unwrap().end
}

#[tokio::test]
async fn every_exit_code_is_reported_as_it_is() {
    for code in [0, 1, 126, 127, 128, 143, 255] {
        assert_eq!(end_of(&format!("exit {code}")).await, End::Exited(code));
    }
}

#[tokio::test]
async fn a_signal_is_told_from_the_exit_code_a_shell_would_make_of_it() {
    assert_eq!(end_of("kill -SEGV $$").await, End::Signalled(11));
    assert_eq!(end_of("kill -KILL $$").await, End::Signalled(9));
    // One of those without a name, also when it ends one that the program left behind.
    assert_eq!(end_of("kill -34 $$").await, End::Signalled(34));
    let left = "pid=$(sh -c 'kill -34 $$' > /dev/null & echo $!); while kill -0 $pid; do :; done; exit 3";
    assert_eq!(end_of(left).await, End::Exited(3));
    assert_eq!(end_of("exit 139").await, End::Exited(139));
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_after_the_grace() {
    let deaf = shell("trap '' TERM; echo deaf; while :; do sleep 1; done", &[]);
    let (outcome, printed) = run_until(&supervisor(), deaf, "deaf").await;
    assert_eq!(outcome.unwrap().end, End::Stopped);
    assert_eq!(printed.text(), "deaf\n");
}

#[tokio::test]
async fn a_program_that_hears_term_has_its_grace_to_say_farewell() {
    let mut polite = shell(
        "trap 'echo farewell; exit 3' TERM; echo here; while :; do sleep 0.05; done",
        &[],
    );
    polite.grace = Duration::from_secs(60);
    let (outcome, printed) = run_until(&supervisor(), polite, "here").await;
    assert_eq!(outcome.unwrap().end, End::Stopped);
    assert_eq!(printed.text(), "here\nfarewell\n");
}

#[tokio::test]
async fn a_program_that_runs_too_long_times_out_however_much_it_prints() {
    let mut busy = command(&["yes"]);
    busy.timeout = Duration::from_millis(200);
    busy.idle_timeout = Some(Duration::from_secs(60));
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let discard = async { while chunks.recv().await.is_some() {} };
    let supervisor = supervisor();
    let (outcome, ()) = tokio::join!(
        process::run(&supervisor, busy, output, CancellationToken::new()),
        discard
    );
    assert_eq!(outcome.unwrap().end, End::TimedOut);
}

#[tokio::test]
async fn a_program_that_prints_nothing_is_idle_and_one_that_trickles_is_not() {
    let mut silent = shell("sleep 100", &[]);
    silent.idle_timeout = Some(Duration::from_millis(100));
    assert_eq!(run(silent).await.0.unwrap().end, End::IdleTimedOut);

    let mut trickle = shell("for byte in 1 2 3 4 5 6; do printf $byte; sleep 0.4; done", &[]);
    trickle.idle_timeout = Some(Duration::from_secs(2));
    let (outcome, printed) = run(trickle).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    assert_eq!(printed.text(), "123456");
    assert!(
        printed.0.len() >= 6,
        "each byte came when it was printed: {}",
        printed.0.len()
    );
    assert!(printed.0.is_sorted_by_key(|chunk| chunk.at));
}

#[tokio::test]
async fn a_program_whose_output_nobody_takes_waits_and_is_not_idle() {
    let mut eager = shell("head -c 1000000 /dev/zero; echo done >&2", &[]);
    eager.idle_timeout = Some(Duration::from_millis(500));
    let (output, mut chunks) = mpsc::channel::<Chunk>(1);
    let supervisor = supervisor();
    let late = async {
        // Longer than the idle timeout: the time is what this is about.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let mut bytes = 0;
        while let Some(chunk) = chunks.recv().await {
            bytes += chunk.bytes.len();
        }
        bytes
    };
    let (outcome, bytes) = tokio::join!(
        process::run(&supervisor, eager, output, CancellationToken::new()),
        late
    );
    let outcome = outcome.unwrap();
    assert_eq!((outcome.end, bytes), (End::Exited(0), 1_000_005));
    assert_eq!(outcome.output_bytes, 1_000_005);
}

#[tokio::test]
async fn what_a_step_took_is_the_sum_of_its_processes() {
    let hungry = shell(
        "head -c 50000000 /dev/zero | tail -c 50000000 | wc -c; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
        &[],
    );
    let (outcome, printed) = run(hungry).await;
    let outcome = outcome.unwrap();
    assert_eq!(printed.text(), "50000000\n");
    assert!(outcome.peak_memory_bytes >= 50_000_000, "{outcome:?}");
    assert!(outcome.cpu > Duration::ZERO, "{outcome:?}");
}
