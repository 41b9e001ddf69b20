//! Whatever a program starts ends with it.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orchestrator::domain::clock::since_boot;
use orchestrator::runner::process::{self, Bound, Chunk, Command, End, Limits, limits};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::confinement::gone;
use super::{NEVER, eventually, mark, marked, run, run_until, shell, supervisor};

/// Leaves a daemon behind: another session, another group, another parent, deaf to TERM. Its streams are
/// the program's; it says when it lives.
const DAEMON: &str = r#"
( setsid sh -c 'trap "" TERM HUP; echo alive; while :; do sleep 1; done' sh "$1" & ) &
"#;

#[tokio::test]
async fn a_daemon_does_not_outlive_the_program_that_left_it() {
    let mark = mark();
    // The program goes on when the daemon has said, in the pipe between them, that it lives.
    let script = r#"
        exec 3>&1
        ( setsid sh -c 'trap "" TERM HUP; echo alive >&3; echo; while :; do sleep 1; done' sh "$1" & ) | head -n 1 > /dev/null
        exit 4"#;
    let (outcome, printed) = run(shell(script, &[&mark])).await;
    assert_eq!(outcome.unwrap().end, End::Exited(4));
    assert_eq!(printed.text(), "alive\n");
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn a_daemon_does_not_outlive_the_word_to_stop() {
    let mark = mark();
    let (outcome, _) = run_until(
        &supervisor(),
        shell(&format!("{DAEMON} sleep 100"), &[&mark]),
        "alive",
    )
    .await;
    assert_eq!(outcome.unwrap().end, End::Stopped);
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn term_is_heard_by_grandchildren_in_other_sessions() {
    let script = r#"
        ( setsid sh -c 'trap "echo grandchild; exit" TERM; echo alive; while :; do sleep 0.05; done' & ) &
        trap 'sleep 0.5; exit 0' TERM
        while :; do sleep 0.05; done"#;
    let mut step = shell(script, &[]);
    step.grace = Duration::from_secs(60);
    let (outcome, printed) = run_until(&supervisor(), step, "alive").await;
    assert_eq!(outcome.unwrap().end, End::Stopped);
    assert_eq!(printed.text(), "alive\ngrandchild\n");
}

#[tokio::test]
async fn nothing_is_left_of_a_run_that_nobody_waits_for_any_more() {
    let mark = mark();
    let supervisor = supervisor();
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let step = shell(&format!("{DAEMON} sleep 100"), &[&mark]);
    tokio::select! {
        _ = process::run(&supervisor, step, output, CancellationToken::new()) => panic!("it ended"),
        Some(_) = chunks.recv() => {}
    }
    eventually("the daemon and its program end", || marked(&mark).is_empty());
}

#[tokio::test]
async fn a_keeper_that_is_killed_takes_its_step_along() {
    let mark = mark();
    let supervisor = supervisor();
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let step = shell(
        &format!("{DAEMON} cat /proc/self/cgroup; echo $PPID; sleep 100"),
        &[&mark],
    );
    let killing = async {
        let has_pid = |said: &str| said.lines().any(|line| line.parse::<i32>().is_ok());
        let said = heard(&mut chunks, |said| said.contains("alive") && has_pid(said)).await;
        let keeper = said.lines().find_map(|line| line.parse().ok()).unwrap();
        kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
        while chunks.recv().await.is_some() {}
        said
    };
    let (outcome, said) = tokio::join!(
        process::run(&supervisor, step, output, CancellationToken::new()),
        killing
    );
    assert_eq!(outcome.unwrap().end, End::Unwatched);
    eventually("the daemon and its program end", || marked(&mark).is_empty());
    // A host, or a user, may have no groups to write.
    if let Some((_, name)) = said.split_once("/orchestrator-") {
        let name = format!("orchestrator-{}", name.lines().next().unwrap());
        eventually("its groups are deleted", || gone(&name));
    }
    let (outcome, _) = run_until(&supervisor, shell("exit 5", &[]), NEVER).await;
    assert_eq!(
        outcome.unwrap().end,
        End::Exited(5),
        "the next step is as any other"
    );
}

#[tokio::test]
async fn what_is_left_of_a_step_whose_keeper_and_supervisor_are_killed_together_ends_with_the_next_supervisor()
 {
    let mark = mark();
    let supervisor = supervisor();
    // Keepers that wait for a step are no reason to do without the next supervisor.
    let some = || run_until(&supervisor, shell("sleep 0.2", &[]), NEVER);
    let _ = tokio::join!(some(), some(), some());
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let script =
        format!("{DAEMON} cat /proc/self/cgroup; cut -d ' ' -f 4 /proc/$PPID/stat; echo $PPID; sleep 100");
    let step = shell(&script, &[&mark]);
    let killing = async {
        let pids = |said: &str| {
            said.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<i32>>()
        };
        let said = heard(&mut chunks, |said| {
            said.contains("alive") && pids(said).len() == 2
        })
        .await;
        let [above, keeper] = pids(&said)[..] else {
            panic!("{said}")
        };
        // Neither sees the other go.
        kill(Pid::from_raw(above), Signal::SIGSTOP).unwrap();
        kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
        kill(Pid::from_raw(above), Signal::SIGKILL).unwrap();
        eventually("the supervisor ends", || {
            let stat = std::fs::read_to_string(format!("/proc/{above}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
        said
    };
    tokio::select! {
        _ = process::run(&supervisor, step, output, CancellationToken::new()) => panic!("it ended"),
        said = killing => {
            let (outcome, _) = run_until(&supervisor, shell("exit 5", &[]), NEVER).await;
            assert_eq!(outcome.unwrap().end, End::Exited(5));
            if said.contains("/orchestrator-") {
                eventually("the daemon ends", || marked(&mark).is_empty());
            }
        }
    }
    for left in marked(&mark) {
        // Without groups to write, nobody finds it.
        kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }
}

#[tokio::test]
async fn a_supervisor_that_is_killed_is_replaced() {
    let supervisor = supervisor();
    let grandparent = "cut -d ' ' -f 4 /proc/$PPID/stat";
    let (outcome, printed) = run_until(&supervisor, shell(grandparent, &[]), NEVER).await;
    assert_eq!(outcome.unwrap().end, End::Exited(0));
    let pid: i32 = printed.text().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    // Neither takes the keeper that is left, and the first to come finds the supervisor gone.
    let (one, other) = tokio::join!(
        run_until(&supervisor, shell("sleep 0.2; exit 6", &[]), NEVER),
        run_until(&supervisor, shell("sleep 0.2; exit 7", &[]), NEVER),
    );
    assert_eq!(one.0.unwrap().end, End::Exited(6));
    assert_eq!(other.0.unwrap().end, End::Exited(7));
}

#[tokio::test]
async fn a_supervisor_that_is_stopped_is_replaced_and_its_step_goes_on() {
    let supervisor = supervisor();
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let patient = shell("cut -d ' ' -f 4 /proc/$PPID/stat; exec sleep 100", &[]);
    let stop = CancellationToken::new();
    let after = async {
        let said = chunks.recv().await.unwrap().bytes;
        let pid = Pid::from_raw(std::str::from_utf8(&said).unwrap().trim().parse().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        let (outcome, _) = run_until(&supervisor, shell("exit 5", &[]), NEVER).await;
        assert_eq!(outcome.unwrap().end, End::Exited(5));
        kill(pid, Signal::SIGCONT).unwrap();
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(process::run(&supervisor, patient, output, stop.clone()), after);
    assert_eq!(outcome.unwrap().end, End::Stopped);
}

/// What is printed, as soon as it is `enough`.
async fn heard(chunks: &mut mpsc::Receiver<Chunk>, enough: impl Fn(&str) -> bool) -> String {
    let mut said = String::new();
    while !enough(&said) {
        said.push_str(std::str::from_utf8(&chunks.recv().await.unwrap().bytes).unwrap());
    }
    said
}

/// A step that leaves a daemon, stops its keeper and says so.
fn stopping(mark: &str, more: &str) -> Command {
    Command {
        credentials: None,
        timeout: Duration::from_secs(1),
        ..shell(
            &format!("{DAEMON} kill -STOP $PPID; echo stopped; {more}"),
            &[mark],
        )
    }
}

#[tokio::test]
async fn a_step_that_stops_its_keeper_is_over_when_its_time_is() {
    let mark = mark();
    let (outcome, printed) = run(stopping(&mark, "sleep 100")).await;
    assert!(printed.text().contains("stopped"));
    assert_eq!(outcome.unwrap().end, End::TimedOut);
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn a_step_that_stops_its_keeper_again_and_again_is_over_when_its_time_is() {
    let mark = mark();
    let (outcome, _) = run(stopping(&mark, "while :; do kill -STOP $PPID; done")).await;
    assert_eq!(outcome.unwrap().end, End::TimedOut);
    // Its keeper was killed for that; who inherits the daemon ends it.
    eventually("the step and its daemon end", || marked(&mark).is_empty());
}

/// Until so many seconds from now.
fn ahead(seconds: u64) -> Option<Duration> {
    Some(since_boot() + Duration::from_secs(seconds))
}

/// Runs a shell under a lease, which is what `lease` makes of it when the shell says `begun`.
async fn leased(
    first: Option<Duration>,
    script: &str,
    lease: impl FnOnce(&watch::Sender<Option<Duration>>),
) -> End {
    let (sender, receiver) = watch::channel(first);
    let (output, mut chunks) = mpsc::channel(4);
    let (supervisor, stop) = (supervisor(), CancellationToken::new());
    let bound = Bound {
        stop,
        lease: Some(receiver),
    };
    let running = process::run(&supervisor, shell(script, &[]), output, bound);
    let listening = async {
        chunks.recv().await;
        lease(&sender);
        while chunks.recv().await.is_some() {}
    };
    tokio::join!(running, listening).0.unwrap().end
}

#[tokio::test]
async fn a_program_ends_with_its_lease_with_everything_below_it() {
    let mark = mark();
    let (_lease, receiver) = watch::channel(ahead(1));
    let (output, mut chunks) = mpsc::channel(4);
    let bound = Bound {
        stop: CancellationToken::new(),
        lease: Some(receiver),
    };
    let daemon = "( setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' sh \"$1\" & ) &
                  trap '' TERM; while :; do sleep 1; done";
    let supervisor = supervisor();
    let running = process::run(&supervisor, shell(daemon, &[&mark]), output, bound);
    let (ended, _) = tokio::join!(running, chunks.recv());
    assert_eq!(ended.unwrap().end, End::LeaseOver);
    assert!(marked(&mark).is_empty());
}

#[tokio::test]
async fn a_lease_ends_when_the_last_word_says() {
    let endless = "echo begun; while :; do sleep 1; done";
    let shortened = leased(ahead(600), endless, |lease| {
        lease.send_replace(ahead(0));
    })
    .await;
    assert_eq!(shortened, End::LeaseOver);
    let over_before = leased(ahead(0), endless, |_| {}).await;
    assert_eq!(over_before, End::LeaseOver);
    let none = leased(None, "echo begun; exit 3", |_| {}).await;
    assert_eq!(none, End::Exited(3));
}

#[tokio::test]
async fn a_keeper_that_was_stopped_over_its_lease_hears_that_it_was_renewed() {
    let (sender, receiver) = watch::channel(ahead(600));
    let (output, mut chunks) = mpsc::channel(4);
    let supervisor = supervisor();
    let bound = Bound {
        stop: CancellationToken::new(),
        lease: Some(receiver),
    };
    let running = process::run(
        &supervisor,
        shell("echo $PPID; sleep 2; exit 3", &[]),
        output,
        bound,
    );
    let renewing = async {
        let said = chunks.recv().await.unwrap();
        let keeper = String::from_utf8_lossy(&said.bytes).trim().parse().unwrap();
        kill(Pid::from_raw(keeper), Signal::SIGSTOP).unwrap();
        // Words it does not read; all but the last are of a time that is over when it does.
        for _ in 0..20 {
            sender.send_replace(ahead(0));
            // In one task with whoever tells the keeper, which it does at its next turn.
            tokio::task::yield_now().await;
        }
        sender.send_replace(ahead(600));
        tokio::task::yield_now().await;
        kill(Pid::from_raw(keeper), Signal::SIGCONT).unwrap();
        while chunks.recv().await.is_some() {}
    };
    let (ended, ()) = tokio::join!(running, renewing);
    assert_eq!(ended.unwrap().end, End::Exited(3));
}

#[tokio::test]
async fn a_keeper_that_was_stopped_hears_that_nobody_waits_any_more() {
    let mark = mark();
    let supervisor = supervisor();
    let (output, mut chunks) = mpsc::channel::<Chunk>(4);
    let patient = Command {
        timeout: Duration::from_secs(100),
        ..stopping(&mark, "sleep 100")
    };
    tokio::select! {
        ended = process::run(&supervisor, patient, output, CancellationToken::new()) => {
            panic!("it ended by itself: {ended:?}")
        }
        _ = heard(&mut chunks, |said| said.contains("stopped")) => {}
    }
    eventually("the step and its daemon end", || marked(&mark).is_empty());
}

#[tokio::test]
async fn a_step_that_stopped_itself_has_its_grace() {
    let mut step = shell("trap 'echo heard; exit 3' TERM; kill -STOP $$; sleep 100", &[]);
    step.timeout = Duration::from_millis(500);
    let (outcome, printed) = run(step).await;
    assert_eq!(outcome.unwrap().end, End::TimedOut);
    assert_eq!(printed.text(), "heard\n");
}

#[tokio::test]
async fn a_fork_storm_is_bounded_and_over_when_its_time_is() {
    let mark = mark();
    let step_user = super::command(&[]).credentials;
    let uid = step_user.map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
    let most = limits::processes_of(uid) + 64;
    let mut storm = shell(
        r#"storm() { storm "$@" | storm "$@" & }; echo $$; storm "$@" & exec sleep 100"#,
        &[&mark],
    );
    storm.timeout = Duration::from_secs(1);
    storm.limits = Limits {
        user_processes: Some(most),
        ..Limits::default()
    };
    let watched = std::thread::spawn({
        let mark = mark.clone();
        move || {
            eventually("the storm begins", || !marked(&mark).is_empty());
            let mut highest = 0;
            while !marked(&mark).is_empty() {
                highest = highest.max(marked(&mark).len());
            }
            highest
        }
    });
    let (outcome, _) = run(storm).await;
    assert_eq!(outcome.unwrap().end, End::TimedOut);
    assert!(marked(&mark).is_empty());
    let highest = watched.join().unwrap();
    assert!(
        highest as u64 <= most,
        "{highest} processes at once, where {most} are the most"
    );
}
